/** `POST /v1/join-tokens` of the admin socket. */
import type { JoinTokenSubject, JoinTokens } from "../ca/join-tokens.ts";
import { AppError } from "../core/error.ts";
import { formatSpiffeId, parseServiceAccount, parseSpiffeId } from "../identity/spiffe-id.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import type { MeshState } from "./mesh-state.ts";

export interface JoinTokenAnswer {
  readonly token: string;
  /** `NAMESPACE/NAME`. */
  readonly serviceAccount: string;
  /** Milliseconds. */
  readonly expiresAt: number;
}

const MAX_TTL_SECONDS = 7 * 86_400;

function subjectOf(snapshot: MeshSnapshot, { workload, serviceAccount, group }: Readonly<Record<string, unknown>>): JoinTokenSubject {
  if (typeof group === "string") {
    const found = snapshot.workloadGroups.get(group);
    if (found === undefined)
      throw new AppError("not-found", `the configuration has no WorkloadGroup \`${group}\``, { help: "add a WorkloadGroup" });
    return { namespace: found.meta.namespace, name: found.serviceAccount, workload: undefined };
  }
  if (typeof workload === "string") {
    const found = snapshot.workloads.get(workload);
    if (found === undefined)
      throw new AppError("not-found", `the configuration has no workload \`${workload}\``, { help: "add a WorkloadEntry" });
    const { namespace, serviceAccount: name } = parseSpiffeId(found.identity);
    return { namespace, name, workload };
  }
  if (typeof serviceAccount !== "string")
    throw new AppError("invalid-argument", "a join token is for a `workload`, a `serviceAccount` or a `group`", {
      help: "name one of them",
    });
  return { ...parseServiceAccount(serviceAccount), workload: undefined };
}

/** A token for a workload or an account that exists; one for another would never be good for anything. */
export function makeJoinToken(context: { readonly mesh: MeshState; readonly joinTokens: JoinTokens }, body: unknown): JoinTokenAnswer {
  const fields = typeof body === "object" && body !== null ? (body as Readonly<Record<string, unknown>>) : {};
  const { snapshot } = context.mesh.current;
  const subject = subjectOf(snapshot, fields);
  const { namespace, name } = subject;
  if (!snapshot.identities.has(formatSpiffeId({ trustDomain: snapshot.settings.trustDomain, namespace, serviceAccount: name })))
    throw new AppError("not-found", `there is no service account \`${namespace}/${name}\``, {
      help: "add a ServiceAccount to the configuration",
    });
  const { ttlSeconds } = fields;
  if (typeof ttlSeconds !== "number" || !Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TTL_SECONDS)
    throw new AppError("invalid-argument", `the life of a join token is a whole number of seconds from 1 to ${MAX_TTL_SECONDS}`);
  return { ...context.joinTokens.create(subject, ttlSeconds), serviceAccount: `${namespace}/${name}` };
}
