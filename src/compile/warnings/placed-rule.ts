/** A rule with all that its warnings need. */
import type { Place } from "../../core/diagnostic.ts";
import type { MeshSnapshot } from "../../mesh/snapshot.ts";
import type { AuthorizationPolicyObject, Rule } from "../../policy/model.ts";
import type { ServerSide } from "../workload-policy.ts";

export interface PlacedRule {
  readonly policy: AuthorizationPolicyObject;
  readonly rule: Rule;
  /** `NAMESPACE/POLICY[RULE]`, quoted. */
  readonly name: string;
  readonly place: Place;
  /** What is compiled for the workloads that the policy selects. */
  readonly selected: readonly ServerSide[];
  readonly snapshot: MeshSnapshot;
}

const MAX_NAMED = 6;

/** A list that stays short. */
export function named(items: readonly string[]): string {
  const rest = items.length - MAX_NAMED;
  return `${items.slice(0, MAX_NAMED).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}
