/**
 * The CA that all replicas share: a Secret with the files of a plugged CA. Where there is none, the replica that comes first makes one;
 * the API server decides which that is, since it creates an object only once. The files are kept in a private folder, which the CA
 * follows as it follows an operator's.
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { makeCaFiles } from "../../ca/new-ca.ts";
import { ensurePrivateFolder, readPrivateFile, replacePrivateFile } from "../../ca/state-files.ts";
import { Backoff } from "../../core/backoff.ts";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import type { KubernetesApi } from "../../sources/kubernetes/api.ts";
import { Coalesced } from "../../sources/kubernetes/coalesced.ts";
import { Reflector } from "../../sources/kubernetes/reflector.ts";
import { secretKind } from "../../sources/kubernetes/watched-kinds.ts";

export interface CaSecretOptions {
  readonly api: KubernetesApi;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly secret: { readonly namespace: string; readonly name: string };
  /** The private folder for its files. */
  readonly folder: string;
  readonly trustDomain: TrustDomain;
  /** Ends the wait for the API server. */
  readonly signal?: AbortSignal;
}

export interface CaSecret {
  close(): Promise<void>;
}

type Files = Readonly<Record<string, string>>;

/** Istio's names, and those of a TLS secret; nothing else of the Secret is read. */
const NAMES = ["ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem", "tls.crt", "tls.key", "ca.crt"] as const;
const KEYS = ["ca-key.pem", "tls.key"] as const;
const BACKDATE_SECONDS = 120;
/** Between two attempts to put a deleted Secret back. */
const RESTORE_MS = 1_000;

function filesOf(body: unknown): Files {
  const data = typeof body === "object" && body !== null && "data" in body ? (body.data as Readonly<Record<string, unknown>> | null) : null;
  return Object.fromEntries(
    NAMES.flatMap((name): [string, string][] => {
      const value = data?.[name];
      return typeof value === "string" ? [[name, Buffer.from(value, "base64").toString("utf8")]] : [];
    }),
  );
}

function holdsCa(files: Files): boolean {
  return KEYS.some((name) => files[name] !== undefined);
}

function pathOf({ namespace }: CaSecretOptions["secret"]): string {
  return `/api/v1/namespaces/${namespace}/secrets`;
}

function bodyOf({ namespace, name }: CaSecretOptions["secret"], files: Files): unknown {
  const data = Object.fromEntries(Object.entries(files).map(([file, text]) => [file, Buffer.from(text).toString("base64")]));
  return { apiVersion: "v1", kind: "Secret", type: "Opaque", metadata: { namespace, name }, data };
}

function refused(status: number, { namespace, name }: CaSecretOptions["secret"]): AppError {
  const what = `the API server answers ${status} to the question for the CA's Secret \`${namespace}/${name}\``;
  const help = `its account needs the Role of namespace \`${namespace}\` (deploy/kubernetes/ca-rbac.yaml)`;
  return new AppError(status === 403 || status === 401 ? "permission-denied" : "unavailable", what, { help });
}

/** One attempt; undefined where another replica was quicker. Throws `permission-denied`, `unavailable`. */
async function readOrMake({ api, secret, trustDomain, clock, logger }: CaSecretOptions): Promise<Files | undefined> {
  const found = await api.call("GET", `${pathOf(secret)}/${secret.name}`);
  if (found.status === 200) return filesOf(found.body);
  if (found.status !== 404) throw refused(found.status, secret);
  const files = makeCaFiles({ trustDomain, now: clock.now(), backdateSeconds: BACKDATE_SECONDS });
  const { status } = await api.call("POST", pathOf(secret), bodyOf(secret, files));
  if (status === 409) return undefined;
  if (status !== 201) throw refused(status, secret);
  logger.log("info", "a new CA is in its Secret", { secret: `${secret.namespace}/${secret.name}` });
  return files;
}

/** Waits for an API server that is away, and for nothing else. */
async function firstFiles(options: CaSecretOptions): Promise<Files> {
  const backoff = new Backoff({ firstMs: 200, maxMs: 5_000, random: Math.random });
  const { signal, logger } = options;
  for (;;) {
    try {
      const files = await readOrMake(options);
      if (files !== undefined) return files;
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (error.code === "permission-denied" || signal?.aborted === true) throw error;
      logger.log("warn", "the CA's Secret cannot be read yet", { reason: error.message });
    }
    await sleep(backoff.next(), undefined, signal === undefined ? {} : { signal });
  }
}

/** Writes what differs. */
function writeFiles(folder: string, files: Files): void {
  ensurePrivateFolder(folder);
  for (const [name, text] of Object.entries(files)) {
    if (readPrivateFile(join(folder, name)) !== text) replacePrivateFile(join(folder, name), text);
  }
  for (const name of readdirSync(folder)) if (files[name] === undefined) rmSync(join(folder, name));
}

/**
 * Puts the files of the Secret into the folder, and keeps them the same while it changes. A Secret that is deleted is put back: without
 * it, the next replica would make a CA that nobody trusts. Throws `permission-denied`, and `invalid-configuration` for a Secret without a CA.
 */
export async function openCaSecret(options: CaSecretOptions): Promise<CaSecret> {
  const { api, logger, secret, folder } = options;
  const name = `${secret.namespace}/${secret.name}`;
  let files = await firstFiles(options);
  if (!holdsCa(files)) {
    const help = `it has the files of a CA, ${NAMES.slice(0, 4).join(", ")}; without the Secret one is made`;
    throw new AppError("invalid-configuration", `the Secret \`${name}\` holds no CA`, { help });
  }
  writeFiles(folder, files);
  const follow = async (): Promise<void> => {
    const [object] = reflector.objects?.values() ?? [];
    if (object === undefined) {
      const { status } = await api.call("POST", pathOf(secret), bodyOf(secret, files));
      if (status !== 201 && status !== 409) throw refused(status, secret);
      logger.log("warn", "the CA's Secret was deleted, and is put back", { secret: name });
      return;
    }
    const now = filesOf(object.body);
    if (!holdsCa(now)) return logger.log("error", "the CA's Secret holds no CA any more: the last one stays in force", { secret: name });
    files = now;
    writeFiles(folder, files);
  };
  const follower = new Coalesced({ what: "following the CA's Secret", work: follow, logger, intervalMs: RESTORE_MS });
  const reflector = new Reflector({ api, kind: secretKind(secret.namespace, secret.name), logger, onChange: () => follower.ask() });
  return {
    close: async () => {
      await Promise.all([follower.close(), reflector.close()]);
    },
  };
}
