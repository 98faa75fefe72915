/** Dry runs (Istio's annotation `istio.io/dry-run`): what a decision would be, were the policies that are only tried in force. */
import type { Decision, Verdict } from "./decision.ts";
import { formatEnvoyPolicyId, type Origin } from "./origin.ts";

/** What the rules of dry runs say of a request, on their own. */
export interface Trial {
  /** The first DENY rule that matches. */
  readonly deny: Origin | undefined;
  /** The first ALLOW rule that matches, or that none does; undefined where no ALLOW policy is a dry run. */
  readonly allow: Origin | "none" | undefined;
}

/** Of the names under which an Envoy tells of dry runs, in metadata and statistics: Istio's. */
export const DRY_RUN_PREFIX = { deny: "istio_dry_run_deny_", allow: "istio_dry_run_allow_" } as const;

/** Of two rules that match, the one that Envoy names: the first by its name of them. */
function first(left: Origin | undefined, right: Origin | undefined): Origin | undefined {
  if (left === undefined || right === undefined) return left ?? right;
  return formatEnvoyPolicyId(left) < formatEnvoyPolicyId(right) ? left : right;
}

/**
 * What would have been decided. An ALLOW dry run counts as any ALLOW policy does here: what none of them matches would be
 * denied (AZ-1), although alone it denies nothing (AZ-11). Not to be asked where nothing was decided by DENY and ALLOW rules.
 */
export function asIfEnforced({ effect, because }: Pick<Decision, "effect" | "because">, { deny, allow }: Trial): Verdict {
  const decisive = because.kind === "rule" ? because.origin : undefined;
  const denied = first(effect === "deny" ? decisive : undefined, deny);
  if (denied !== undefined) return { effect: "deny", because: { kind: "rule", action: "DENY", origin: denied } };
  if (allow === undefined) return { effect, because };
  const allowed = first(decisive, allow === "none" ? undefined : allow);
  if (allowed === undefined) return { effect: "deny", because: { kind: "default" } };
  return { effect: "allow", because: { kind: "rule", action: "ALLOW", origin: allowed } };
}
