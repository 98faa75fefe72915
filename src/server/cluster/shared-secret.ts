/**
 * A Secret whose content all replicas share. Where there is none, the replica that comes first makes it; the API server decides which
 * that is, since it creates an object but once. Writes are made upon what was read, so that of two at a time one is made again.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Backoff } from "../../core/backoff.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { type ApiAnswer, type KubernetesApi, MERGE_PATCH } from "../../sources/kubernetes/api.ts";
import { isPlain } from "../../sources/kubernetes/api-objects.ts";
import { Coalesced } from "../../sources/kubernetes/coalesced.ts";
import { Reflector } from "../../sources/kubernetes/reflector.ts";
import { secretKind } from "../../sources/kubernetes/watched-kinds.ts";

/** Texts by the keys of the Secret. */
export type Files = Readonly<Record<string, string>>;

export interface SharedSecretOptions {
  readonly api: KubernetesApi;
  readonly logger: Logger;
  readonly secret: { readonly namespace: string; readonly name: string };
  /** The keys that are read; what else the Secret holds is somebody else's. */
  readonly keys: readonly string[];
  /** What the first replica puts there. */
  readonly make: () => Files;
  /** Takes what is there, first and after each change. Throws what is wrong with it: at the start that ends the start, later the last content stays in force. */
  readonly take: (files: Files) => void;
  /** What this replica wants there, given what is there; undefined where that is fine. */
  readonly wanted?: (files: Files) => Files | undefined;
  /** Ends the wait for the API server. */
  readonly signal?: AbortSignal;
}

export interface SharedSecret {
  /** This replica may want something else there than before. */
  refresh(): void;
  close(): Promise<void>;
}

const INTERVAL_MS = 250;

function refused(status: number, { namespace, name }: SharedSecretOptions["secret"]): AppError {
  const what = `the API server answers ${status} to a request for the Secret \`${namespace}/${name}\``;
  const help = `the control plane's account needs the Role of namespace \`${namespace}\` (deploy/helm/garrison/templates/ca-rbac.yaml)`;
  return new AppError(status === 403 || status === 401 ? "permission-denied" : "unavailable", what, { help });
}

class Shared implements SharedSecret {
  readonly #options: SharedSecretOptions;
  readonly #path: string;
  #files: Files = {};
  #reflector: Reflector | undefined;
  #worker: Coalesced | undefined;

  constructor(options: SharedSecretOptions) {
    this.#options = options;
    this.#path = `/api/v1/namespaces/${options.secret.namespace}/secrets`;
  }

  async start(): Promise<this> {
    const { api, logger, secret, take } = this.#options;
    this.#files = await this.#first();
    take(this.#files);
    const what = `sharing the Secret ${secret.namespace}/${secret.name}`;
    this.#worker = new Coalesced({ what, work: () => this.#follow(), logger, intervalMs: INTERVAL_MS });
    const kind = secretKind(secret.namespace, secret.name);
    this.#reflector = new Reflector({ api, kind, logger, onChange: () => this.refresh() });
    return this;
  }

  refresh(): void {
    this.#worker?.ask();
  }

  async close(): Promise<void> {
    await Promise.all([this.#worker?.close(), this.#reflector?.close()]);
  }

  /** Waits for an API server that is away, and for nothing else. */
  async #first(): Promise<Files> {
    const { signal, logger } = this.#options;
    const backoff = new Backoff({ firstMs: 200, maxMs: 5_000, random: Math.random });
    for (;;) {
      try {
        const files = await this.#readOrMake();
        if (files !== undefined) return files;
      } catch (thrown) {
        const error = AppError.from(thrown);
        if (error.code === "permission-denied" || signal?.aborted === true) throw error;
        logger.log("warn", "what replicas share cannot be read yet", { reason: error.message });
      }
      await sleep(backoff.next(), undefined, signal === undefined ? {} : { signal });
    }
  }

  /** Undefined where another replica was quicker. */
  async #readOrMake(): Promise<Files | undefined> {
    const { api, secret, make } = this.#options;
    const found = await api.call("GET", `${this.#path}/${secret.name}`);
    if (found.status === 200) return this.#filesOf(found.body);
    if (found.status !== 404) throw refused(found.status, secret);
    const files = make();
    return (await this.#create(files)) ? files : undefined;
  }

  async #create(files: Files): Promise<boolean> {
    const { api, secret, logger } = this.#options;
    const body = { apiVersion: "v1", kind: "Secret", type: "Opaque", metadata: secret, data: encoded(files) };
    const { status } = await api.call("POST", this.#path, body);
    if (status !== 201 && status !== 409) throw refused(status, secret);
    if (status === 201) logger.log("info", "what replicas share is in a Secret", { secret: `${secret.namespace}/${secret.name}` });
    return status === 201;
  }

  #filesOf(body: unknown): Files {
    const data = isPlain(body) && isPlain(body.data) ? body.data : {};
    return Object.fromEntries(
      this.#options.keys.flatMap((key): [string, string][] => {
        const value = data[key];
        return typeof value === "string" ? [[key, Buffer.from(value, "base64").toString("utf8")]] : [];
      }),
    );
  }

  /** A Secret that was deleted is put back as it was: without it, the next replica would begin anew. */
  async #follow(): Promise<void> {
    const objects = this.#reflector?.objects;
    if (objects === undefined) return;
    const [object] = objects.values();
    const { take, wanted, logger, secret } = this.#options;
    if (object === undefined) {
      await this.#create(this.#files);
      return;
    }
    const files = this.#filesOf(object.body);
    try {
      take(files);
      this.#files = files;
    } catch (thrown) {
      const reason = AppError.from(thrown).message;
      logger.log("error", "what is shared cannot be used: the last content stays in force", {
        secret: `${secret.namespace}/${secret.name}`,
        reason,
      });
      return;
    }
    const next = wanted?.(files);
    if (next !== undefined) await this.#write(next, object.metadata.resourceVersion);
  }

  /** Where another was quicker, the watch brings what it wrote, and this is asked again. */
  async #write(files: Files, resourceVersion: string): Promise<void> {
    const { api, secret } = this.#options;
    const patch = { metadata: { resourceVersion }, data: encoded(files) };
    const { status }: ApiAnswer = await api.call("PATCH", `${this.#path}/${secret.name}`, patch, MERGE_PATCH);
    if (status !== 200 && status !== 404 && status !== 409) throw refused(status, secret);
  }
}

function encoded(files: Files): Files {
  return Object.fromEntries(Object.entries(files).map(([key, text]) => [key, Buffer.from(text).toString("base64")]));
}

/** Reads the Secret, or makes it, and follows it. Throws `permission-denied`, and what `take` throws of its first content. */
export function openSharedSecret(options: SharedSecretOptions): Promise<SharedSecret> {
  return new Shared(options).start();
}
