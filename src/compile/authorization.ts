/** AuthorizationPolicies -> the rule lists of one workload, for HTTP and for TCP. */
import { narrow } from "../mesh/recording.ts";
import { holdingFor, policyApplies } from "../mesh/selection.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import { attributeRow } from "../policy/attributes.ts";
import type { AuthorizationPolicyObject, Clause, PolicyAction, Rule } from "../policy/model.ts";
import { formatEnvoyPolicyId, type Origin } from "../policy/origin.ts";
import { trustDomainsOf, withAliases } from "./trust-domains.ts";
import type { AuthorizationLayers, CompiledRule, Condition } from "./workload-policy.ts";

type Transport = "http" | "tcp";

/** Closed: an invalid ALLOW matches nothing, an invalid DENY or AUDIT everything. */
function invalidCondition(action: PolicyAction): Condition {
  return action === "ALLOW" ? { kind: "never" } : { kind: "always" };
}

function isHttpOnly(clause: Clause): boolean {
  return attributeRow(clause.attribute).layer === 7;
}

function hasHttpOnly(rule: Rule): boolean {
  return [...rule.from, ...rule.to, rule.when].some((clauses) => clauses.some(isHttpOnly));
}

function withoutHttpOnly(clauses: readonly Clause[]): readonly Clause[] {
  return clauses.filter((clause) => !isHttpOnly(clause));
}

/**
 * What remains of a rule on a TCP connection (AZ-8): an ALLOW with an HTTP-only field matches nothing, so it cannot let
 * more through; a DENY or AUDIT loses the field and so becomes wider.
 */
function tcpCondition(rule: Rule, action: PolicyAction): Condition {
  if (!hasHttpOnly(rule)) return toCondition(rule);
  if (action === "ALLOW") return { kind: "never" };
  return toCondition({ from: rule.from.map(withoutHttpOnly), to: rule.to.map(withoutHttpOnly), when: withoutHttpOnly(rule.when) });
}

/** An element that has lost all its clauses matches everything, and OR with everything is no constraint. */
function anyOf(elements: readonly (readonly Clause[])[]): readonly (readonly Clause[])[] {
  return elements.some((clauses) => clauses.length === 0) ? [] : elements;
}

function toCondition(rule: Rule): Condition {
  const from = anyOf(rule.from);
  const to = anyOf(rule.to);
  if (from.length === 0 && to.length === 0 && rule.when.length === 0) return { kind: "always" };
  return { kind: "when", from, to, when: rule.when };
}

function compilePolicy(policy: AuthorizationPolicyObject, transport: Transport): readonly CompiledRule[] {
  const { rules, action, meta } = policy;
  const originOf = (rule: number): Origin => ({ namespace: meta.namespace, policy: meta.name, rule });
  if (rules === "invalid") return [{ origin: originOf(0), condition: invalidCondition(action) }];
  return rules.map((rule, index) => ({
    origin: originOf(index),
    condition: transport === "http" ? toCondition(rule) : tcpCondition(rule, action),
  }));
}

/**
 * By Envoy's name of the rule, as Envoy itself orders them: where several rules match, the first one is the origin that
 * both engines name.
 */
function inEnvoyOrder(rules: readonly CompiledRule[]): readonly CompiledRule[] {
  const keyed = rules.map((rule) => ({ rule, id: formatEnvoyPolicyId(rule.origin) }));
  return keyed.sort((left, right) => (left.id < right.id ? -1 : left.id > right.id ? 1 : 0)).map(({ rule }) => rule);
}

function layers(policies: readonly AuthorizationPolicyObject[], transport: Transport): AuthorizationLayers {
  const rulesOf = (action: PolicyAction): readonly CompiledRule[] =>
    inEnvoyOrder(policies.filter((policy) => policy.action === action).flatMap((policy) => compilePolicy(policy, transport)));
  const hasAllow = policies.some((policy) => policy.action === "ALLOW");
  return { audit: rulesOf("AUDIT"), deny: rulesOf("DENY"), allow: hasAllow ? rulesOf("ALLOW") : undefined };
}

/** The policies in force for a workload, oldest first. */
export const policiesOf = narrow((snapshot, workload: Workload): readonly AuthorizationPolicyObject[] =>
  holdingFor(snapshot, snapshot.authorizationPolicies, workload, ({ meta, selector }) =>
    policyApplies(snapshot, { namespace: meta.namespace, selector }, workload),
  ),
);

/** The rule lists of a workload. */
export function compileAuthorization(
  snapshot: MeshSnapshot,
  workload: Workload,
): { readonly http: AuthorizationLayers; readonly tcp: AuthorizationLayers } {
  const trustDomains = trustDomainsOf(snapshot);
  const policies = policiesOf(snapshot, workload).map((policy) => withAliases(policy, trustDomains));
  return { http: layers(policies, "http"), tcp: layers(policies, "tcp") };
}
