/** What a WorkloadEntry says of its registration and health: annotations and a condition, as Istio has them. */

import type { WorkloadHealth } from "../../policy/model.ts";
import type { DecodedDocument } from "../snapshot.ts";
import { annotationsOf, conditionOf, HEALTHY } from "./api-objects.ts";

/** Name of the WorkloadGroup by which an entry was made. */
export const REGISTRATION_GROUP = "istio.io/autoRegistrationGroup";
/** The replica to which the member's agent was connected last. */
export const WORKLOAD_CONTROLLER = "istio.io/workloadController";
export const CONNECTED_AT = "istio.io/connectedAt";
/** Present from when the agent's connection ended until it comes back. */
export const DISCONNECTED_AT = "istio.io/disconnectedAt";
/** `true`: without the condition, nothing is known and no calls go there. */
export const HEALTH_CHECKED = "proxy.istio.io/health-checks-enabled";

type Plain = Readonly<Record<string, unknown>>;

function stateOf(condition: Plain | undefined): WorkloadHealth["state"] {
  if (condition?.status === "True") return "healthy";
  return condition?.status === "False" ? "unhealthy" : "unknown";
}

/** Undefined for an entry that nobody registered and nobody asks about. */
function healthOf(body: Plain): WorkloadHealth | undefined {
  const { [REGISTRATION_GROUP]: group, [HEALTH_CHECKED]: checked } = annotationsOf(body);
  const named = typeof group === "string" ? group : undefined;
  if (checked !== "true") return named === undefined ? undefined : { state: "healthy", detail: "", group: named };
  const condition = conditionOf(body, HEALTHY);
  const detail = typeof condition?.message === "string" ? condition.message : "";
  return { state: stateOf(condition), detail, group: named };
}

/** The document, where it is a WorkloadEntry, with what its annotations and status say. */
export function withHealth(document: DecodedDocument, body: Plain): DecodedDocument {
  const { object } = document;
  const health = object?.kind === "WorkloadEntry" ? healthOf(body) : undefined;
  return object?.kind !== "WorkloadEntry" || health === undefined ? document : { ...document, object: { ...object, health } };
}
