/** Objects put into a cluster by server-side apply: what others say of an object stays theirs. */
import { AppError, type ErrorCode } from "../core/error.ts";
import { APPLY_PATCH, type ApiAnswer, type KubernetesApi } from "../sources/kubernetes/api.ts";
import type { Manifest } from "./chart.ts";
import { CRD, helmRelease, isOurs, kindOf, NAMESPACE, nameOf, objectUrl } from "./kinds.ts";
import { isObject } from "./template.ts";

const MANAGER = "garrison";

export interface ApplyOptions {
  readonly api: KubernetesApi;
  /** Ask the API server, and keep nothing. */
  readonly dryRun: boolean;
  /** Take fields that others own. */
  readonly force: boolean;
}

/** What became of an object; `kept` is somebody else's, and stays as it is. */
export type Outcome = "created" | "configured" | "unchanged" | "kept";

const CODES: Readonly<Record<number, ErrorCode>> = {
  401: "unauthenticated",
  403: "permission-denied",
  404: "not-found",
  409: "already-exists",
  422: "invalid-configuration",
};

/** Not a matter of rights, though the API server says so. */
const TERMINATING = /being terminated/;

const HELP: Readonly<Record<number, string>> = {
  401: "the API server does not know you: log in again, or name another kubeconfig",
  403: "installing needs the rights of an administrator of the cluster; `garrison install --dry-run client` prints what they can apply",
  409: "somebody else manages these fields: have them give it up, or take it with `--force-conflicts`",
};

function messageOf({ status, body }: ApiAnswer): string {
  const message = isObject(body) && typeof body.message === "string" ? body.message : `the API server answered ${status}`;
  return message.length > 1000 ? `${message.slice(0, 1000)}...` : message;
}

/** What the API server refused, in words for whoever installs. */
export function refusal(answer: ApiAnswer, where: string): AppError {
  const message = messageOf(answer);
  if (TERMINATING.test(message))
    return new AppError("unavailable", message, { where, help: "wait until the namespace is gone, and try again" });
  const help = HELP[answer.status];
  return new AppError(CODES[answer.status] ?? "unavailable", message, { where, ...(help === undefined ? {} : { help }) });
}

/** An object as the cluster has it; undefined where it has none. */
export async function readLive(api: KubernetesApi, manifest: Manifest): Promise<Manifest | undefined> {
  const answer = await api.call("GET", objectUrl(kindOf(manifest), manifest.metadata));
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw refusal(answer, nameOf(manifest));
  return answer.body as Manifest;
}

/** Kinds of which another's object does as well: Istio's schemas, and namespaces with what is in them. */
function mayBeAnothers(manifest: Manifest): boolean {
  return manifest.kind === CRD.kind || manifest.kind === NAMESPACE.kind;
}

function versionOf(manifest: unknown): unknown {
  return isObject(manifest) && isObject(manifest.metadata) ? manifest.metadata.resourceVersion : undefined;
}

/** Applies one object. Throws `permission-denied`, `already-exists` where others manage its fields, `invalid-configuration` and `unavailable`. */
export async function applyObject({ api, dryRun, force }: ApplyOptions, manifest: Manifest): Promise<Outcome> {
  const live = await readLive(api, manifest);
  if (live !== undefined && mayBeAnothers(manifest) && !isOurs(live)) return "kept";
  const release = live === undefined ? undefined : helmRelease(live);
  if (release !== undefined) {
    const help = `change it with \`helm upgrade ${release}\`, or remove it with \`helm uninstall ${release}\``;
    throw new AppError("already-exists", `Helm installed it, as the release \`${release}\``, { where: nameOf(manifest), help });
  }
  const query = `fieldManager=${MANAGER}&fieldValidation=Strict${force ? "&force=true" : ""}${dryRun ? "&dryRun=All" : ""}`;
  const answer = await api.call("PATCH", `${objectUrl(kindOf(manifest), manifest.metadata)}?${query}`, manifest, APPLY_PATCH);
  if (answer.status === 201) return "created";
  if (answer.status === 200) return versionOf(answer.body) === versionOf(live) ? "unchanged" : "configured";
  throw refusal(answer, nameOf(manifest));
}
