/** What Istio accepts and users regret, policy by policy. Warnings change nothing. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import type { MeshSnapshot, Workload } from "../../mesh/snapshot.ts";
import { attributeRow } from "../../policy/attributes.ts";
import type { AuthorizationPolicyObject, PeerAuthenticationObject, RequestAuthenticationObject } from "../../policy/model.ts";
import type { CompiledRule, ServerSide } from "../workload-policy.ts";
import { anyIssuer } from "./any-issuer.ts";
import { contradictions, disagreements } from "./contradiction.ts";
import { allowsAllBut, evadedDenies } from "./evasion.ts";
import { misspeltValues, wideBlocks } from "./misspelt.ts";
import { absentCallers } from "./nobody.ts";
import { shadowedModes } from "./one-of-several.ts";
import { named, type PlacedRule } from "./placed-rule.ts";
import { unheardModePorts, unheardRulePorts, unreachable } from "./unheard-port.ts";
import { identitiesWithoutMtls, requestersWithoutTokens } from "./unknown-caller.ts";
import { emptyAllow, widenedDeny } from "./widened-deny.ts";

type Compiled = ReadonlyMap<string, ServerSide>;

/** Of what a rule says, in the order in which they are told. */
const OF_WORDS = [misspeltValues, wideBlocks, contradictions, disagreements, absentCallers] as const;

/** Of what comes of a rule at the workloads that it holds for, likewise. */
const OF_EFFECTS = [
  unheardRulePorts,
  unreachable,
  widenedDeny,
  emptyAllow,
  allowsAllBut,
  evadedDenies,
  identitiesWithoutMtls,
  requestersWithoutTokens,
] as const;

/** A policy with the workloads that it selects. */
interface Selection {
  readonly policy: AuthorizationPolicyObject | RequestAuthenticationObject | PeerAuthenticationObject;
  readonly workloads: readonly Workload[];
}

function placedRules(snapshot: MeshSnapshot, policy: AuthorizationPolicyObject, selected: readonly ServerSide[]): readonly PlacedRule[] {
  const { meta, rules } = policy;
  if (rules === "invalid") return [];
  return rules.map((rule, index) => ({
    policy,
    rule,
    name: `\`${meta.namespace}/${meta.name}[${index}]\``,
    place: rule.place ?? meta.place,
    selected,
    snapshot,
  }));
}

function asksForToken({ condition }: CompiledRule): boolean {
  if (condition.kind !== "when") return false;
  return [...condition.from, ...condition.to, condition.when].some((clauses) =>
    clauses.some(({ attribute }) => attributeRow(attribute).needsToken === true),
  );
}

/** A RequestAuthentication asks nobody for a token: without a rule that does, a request without one passes. */
function tokenOptional(policy: RequestAuthenticationObject, selected: readonly ServerSide[]): readonly Diagnostic[] {
  const { meta, jwtRules } = policy;
  if (jwtRules === "invalid" || jwtRules.length === 0) return [];
  const open = selected
    .filter(({ inbound }) => inbound.some(({ protocol }) => protocol !== "tcp"))
    .filter(({ requestAuthentication = [] }) => requestAuthentication.every(({ presence }) => presence === "OPTIONAL"))
    .filter(({ http: { deny, allow = [] } }) => ![...deny, ...allow].some(asksForToken))
    .map(({ workload }) => workload);
  if (open.length === 0) return [];
  const message = `RequestAuthentication \`${meta.namespace}/${meta.name}\` does not require a token, and no rule asks for one: requests without any pass at ${named(open)}`;
  const help = 'add a DENY rule with `notRequestPrincipals: ["*"]`, an ALLOW rule with `requestPrincipals`, or `presence: REQUIRED`';
  return [{ code: "GAR0206", message, place: meta.place, help }];
}

function ruleWarnings(placed: PlacedRule): readonly Diagnostic[] {
  const effects = placed.selected.length === 0 ? [] : OF_EFFECTS;
  return [...OF_WORDS, ...effects].flatMap((warn) => warn(placed));
}

/** Warnings about the meaning of one policy in force. `compiled`: of the workloads that it selects. */
export function policyWarnings(snapshot: MeshSnapshot, compiled: Compiled, { policy, workloads }: Selection): readonly Diagnostic[] {
  const selected = workloads.flatMap(({ key }) => compiled.get(key) ?? []);
  if (policy.kind === "PeerAuthentication") return unheardModePorts(snapshot, policy, selected);
  if (policy.kind === "RequestAuthentication") return [...anyIssuer(policy), ...tokenOptional(policy, selected)];
  return placedRules(snapshot, policy, selected).flatMap(ruleWarnings);
}

/** Warnings about policies that stand in each other's way. `selections`: of all policies, in their order. */
export function warningsAmong(selections: readonly Selection[]): readonly Diagnostic[] {
  return shadowedModes(
    selections.flatMap(({ policy, workloads }) => (policy.kind === "PeerAuthentication" ? [{ policy, workloads }] : [])),
  );
}
