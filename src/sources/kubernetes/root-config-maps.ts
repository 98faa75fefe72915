/** The ConfigMap `istio-ca-root-cert` of every namespace: the roots by which its workloads know the control plane (CA-15). */
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { type KubernetesApi, MERGE_PATCH } from "./api.ts";
import { type ApiObject, isPlain } from "./api-objects.ts";
import { Coalesced } from "./coalesced.ts";
import { isEnding, OF_KUBERNETES } from "./namespaces.ts";
import { isServersTrouble, Pauses } from "./pauses.ts";
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import { objectPath, ROOT_CONFIG_MAPS, ROOT_KEY } from "./watched-kinds.ts";

const WRITE_MS = 500;
/** Between two looks at what was refused. */
const LOOK_MS = 2_000;

export interface RootConfigMapsOptions {
  readonly api: KubernetesApi;
  readonly logger: Logger;
  readonly namespaces: () => Iterable<string>;
  /** PEM of the roots of now. */
  readonly roots: () => string;
  /** Whether this replica is the one to write. */
  readonly mayWrite: () => boolean;
  readonly limits?: ReflectorOptions["limits"];
}

export class RootConfigMaps {
  readonly #options: RootConfigMapsOptions;
  readonly #reflector: Reflector;
  readonly #writer: Coalesced;
  readonly #timer: NodeJS.Timeout;
  readonly #pauses = new Pauses();
  /** By namespace, why it did not take them. */
  readonly #refused = new Map<string, string>();

  constructor(options: RootConfigMapsOptions) {
    this.#options = options;
    const { api, logger, limits } = options;
    this.#writer = new Coalesced({
      what: "writing the roots into namespaces",
      work: (signal) => this.#write(signal),
      logger,
      intervalMs: WRITE_MS,
    });
    this.#timer = setInterval(() => this.refresh(), LOOK_MS).unref();
    const onChange = (): void => this.refresh();
    this.#reflector = new Reflector({ api, kind: ROOT_CONFIG_MAPS, logger, onChange, ...(limits === undefined ? {} : { limits }) });
  }

  /** Of one namespace that does not take them. */
  get #refusal(): string | undefined {
    const [first] = this.#refused.values();
    return first === undefined || this.#refused.size === 1 ? first : `${first}, and ${this.#refused.size - 1} more`;
  }

  /** Why the roots cannot be kept in the namespaces; undefined while they can. */
  get problem(): string | undefined {
    const why = this.#reflector.problem ?? this.#writer.problem ?? this.#refusal;
    return why === undefined ? undefined : `the roots of its namespaces (ConfigMap ${ROOT_CONFIG_MAPS.only.name}) are not kept up: ${why}`;
  }

  /** Looks again: there are other namespaces, other roots, or this replica has become the one to write. */
  refresh(): void {
    this.#writer.ask();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all([this.#writer.close(), this.#reflector.close()]);
  }

  async #write(signal: AbortSignal): Promise<void> {
    const { namespaces, roots, mayWrite } = this.#options;
    const { objects } = this.#reflector;
    if (!mayWrite()) this.#refused.clear();
    if (objects === undefined) return;
    const wanted = { [ROOT_KEY]: roots() };
    const refused = new Set(this.#refused.keys());
    for (const namespace of namespaces()) {
      if (signal.aborted || !mayWrite()) return;
      if (OF_KUBERNETES.has(namespace)) continue;
      const found = objects.get(`${namespace}/${ROOT_CONFIG_MAPS.only.name}`);
      refused.delete(namespace);
      if (isPlain(found?.body.data) && found.body.data[ROOT_KEY] === wanted[ROOT_KEY]) this.#taken(namespace);
      else if (!this.#pauses.isPaused(namespace, found?.metadata.resourceVersion)) await this.#put(namespace, found, wanted);
    }
    for (const gone of refused) this.#taken(gone);
  }

  #taken(namespace: string): void {
    this.#pauses.forget(namespace);
    this.#refused.delete(namespace);
  }

  /** What is one namespace's own trouble, such as a quota or a ConfigMap that is `immutable`, holds up no other. */
  async #put(namespace: string, found: ApiObject | undefined, data: Readonly<Record<string, string>>): Promise<void> {
    const { api, logger } = this.#options;
    const { name } = ROOT_CONFIG_MAPS.only;
    const answer =
      found !== undefined
        ? await api.call("PATCH", objectPath(ROOT_CONFIG_MAPS, "v1", { namespace, name }), { data }, MERGE_PATCH)
        : await api.call("POST", `/api/v1/namespaces/${namespace}/configmaps`, {
            apiVersion: "v1",
            kind: "ConfigMap",
            metadata: { name },
            data,
          });
    // Made by another meanwhile: the watch will tell.
    if (answer.status === 409 || isEnding(answer)) return;
    const isTaken = answer.status === 200 || answer.status === 201;
    const why = `the API server answers ${answer.status} to the roots for namespace \`${namespace}\``;
    if (!isTaken && isServersTrouble(answer)) throw new AppError("unavailable", why);
    if (isTaken) {
      this.#taken(namespace);
      logger.log("debug", "the roots are written", { namespace });
      return;
    }
    logger.log(this.#refused.size === 0 ? "warn" : "debug", "the roots cannot be written into a namespace: the others go on", {
      reason: why,
    });
    this.#pauses.refuse(namespace, found?.metadata.resourceVersion);
    this.#refused.set(namespace, why);
  }
}
