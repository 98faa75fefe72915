/** Why a dry run would decide as it would: the same questions asked as if its policies were in force. */
import { inEnvoyOrder } from "../compile/authorization.ts";
import type { AuthorizationLayers, DryRunLayers } from "../compile/workload-policy.ts";
import { type AskClause, type Explanation, explain, type LayerFinding, type Question } from "./explain.ts";

/** All rules of a workload, in the order in which they would be asked. */
function asIfEnforced({ dryRun: _, ...layers }: AuthorizationLayers, { deny, allow }: DryRunLayers): AuthorizationLayers {
  return {
    ...layers,
    deny: inEnvoyOrder([...layers.deny, ...deny]),
    allow: allow === undefined ? layers.allow : inEnvoyOrder([...(layers.allow ?? []), ...allow]),
  };
}

export interface DryRunExplanation {
  /** Of the rules of dry runs alone: DENY and ALLOW. */
  readonly layers: readonly LayerFinding[];
  /** Of all rules together. */
  readonly explanation: Explanation;
}

/** Undefined where no policy is a dry run, and where an authorizer refuses: then no rule of DENY or ALLOW is asked. */
export function explainDryRun(ask: AskClause, layers: AuthorizationLayers, question: Question): DryRunExplanation | undefined {
  const { dryRun } = layers;
  if (dryRun === undefined) return undefined;
  const explanation = explain(ask, asIfEnforced(layers, dryRun), question);
  const because = explanation.decision?.because;
  if (because?.kind === "rule" && because.action === "CUSTOM") return undefined;
  const alone = explain(ask, { audit: [], ...dryRun }, question);
  return { layers: alone.layers.filter(({ action }) => action !== "AUDIT"), explanation };
}
