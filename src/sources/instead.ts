/** What holds in the place of an object that is invalid, in words. */
import type { MeshObject, PolicyAction } from "../policy/model.ts";
import type { SourceStatus } from "./snapshot.ts";

const OF_ACTION = {
  ALLOW: "it allows nothing, and what no other policy allows is denied",
  DENY: "it denies everything that it selects",
  CUSTOM: "it denies everything that it selects",
  AUDIT: "it takes note of everything that it selects",
} as const satisfies Record<PolicyAction, string>;

function closedWords(object: MeshObject): string {
  switch (object.kind) {
    case "AuthorizationPolicy":
      return `it is closed: ${OF_ACTION[object.action]}${object.dryRun === true ? ", in the record alone, as a dry run" : ""}`;
    case "PeerAuthentication":
      return "it is closed: its mode is STRICT";
    case "RequestAuthentication":
      return "it is closed: every request that it selects gets 401";
    case "DestinationRule":
      return "it is closed: nothing is sent to its host";
    default:
      return "it is closed";
  }
}

/** Undefined where the object is in force as it is written. */
export function insteadOf({ state, key, object }: Pick<SourceStatus, "state" | "key" | "object">): string | undefined {
  if (state === "current" || state === "leaving") return undefined;
  if (state === "kept") return "its last valid form stays in force";
  if (state === "closed" && object !== undefined) return closedWords(object);
  if (key.startsWith("ConfigMap "))
    return "the mesh has no configuration: a control plane does not start, and one that runs goes on without";
  return "the object does not exist";
}
