/** AuthorizationPolicies -> the rule lists of one workload, for HTTP and for TCP. */
import { InternedLists } from "../core/interned.ts";
import { derived, narrow } from "../mesh/recording.ts";
import { holdingFor, policyApplies } from "../mesh/selection.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import { attributeRow } from "../policy/attributes.ts";
import type { AuthorizationPolicyObject, Clause, PolicyAction, Rule } from "../policy/model.ts";
import { formatEnvoyPolicyId, type Origin } from "../policy/origin.ts";
import { Authorizers, type Transport } from "./authorizers.ts";
import { trustDomainsOf, withAliases } from "./trust-domains.ts";
import type { AuthorizationLayers, CompiledRule, Condition, CustomRule, DryRunLayers, WorkloadPolicy } from "./workload-policy.ts";

/** Closed: an invalid ALLOW matches nothing, an invalid DENY, CUSTOM or AUDIT everything. */
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

function compileRules(policy: AuthorizationPolicyObject, transport: Transport): readonly CompiledRule[] {
  const { rules, action, meta } = policy;
  const originOf = (rule: number): Origin => ({ namespace: meta.namespace, policy: meta.name, rule });
  if (rules === "invalid") return [{ origin: originOf(0), condition: invalidCondition(action) }];
  return rules.map((rule, index) => ({
    origin: originOf(index),
    condition: transport === "http" ? toCondition(rule) : tcpCondition(rule, action),
  }));
}

/** In their order. A policy is compiled once, however many workloads it holds for. */
const compiled = {
  http: new WeakMap<AuthorizationPolicyObject, readonly CompiledRule[]>(),
  tcp: new WeakMap<AuthorizationPolicyObject, readonly CompiledRule[]>(),
};

function compilePolicy(policy: AuthorizationPolicyObject, transport: Transport): readonly CompiledRule[] {
  const known = compiled[transport].get(policy);
  if (known !== undefined) return known;
  const rules = inEnvoyOrder(compileRules(policy, transport));
  compiled[transport].set(policy, rules);
  return rules;
}

/**
 * By Envoy's name of the rule, as Envoy itself orders them: where several rules match, the first one is the origin that
 * both engines name.
 */
export function inEnvoyOrder(rules: readonly CompiledRule[]): readonly CompiledRule[] {
  if (rules.length === 1) return rules;
  const keyed = rules.map((rule) => ({ rule, id: formatEnvoyPolicyId(rule.origin) }));
  return keyed.sort((left, right) => (left.id < right.id ? -1 : left.id > right.id ? 1 : 0)).map(({ rule }) => rule);
}

const NO_RULES: readonly CompiledRule[] = [];
const ruleLists = new InternedLists<CompiledRule>();

/** The rules of some policies, in order; of the same policies the same list. */
function rulesOf(policies: readonly AuthorizationPolicyObject[], transport: Transport): readonly CompiledRule[] {
  const [first, second] = policies;
  if (first === undefined) return NO_RULES;
  if (second === undefined) return compilePolicy(first, transport);
  return ruleLists.of(inEnvoyOrder(policies.flatMap((policy) => compilePolicy(policy, transport))));
}

function isDryRun({ dryRun }: AuthorizationPolicyObject): boolean {
  return dryRun === true;
}

function dryRunLayers(policies: readonly AuthorizationPolicyObject[], transport: Transport): DryRunLayers {
  const ofAction = (action: PolicyAction) => policies.filter((policy) => policy.action === action);
  const allowing = ofAction("ALLOW");
  return { deny: rulesOf(ofAction("DENY"), transport), allow: allowing.length === 0 ? undefined : rulesOf(allowing, transport) };
}

/** What a CUSTOM policy can ask nobody of is denied instead, and nothing else is (AZ-13). */
function layers(policies: readonly AuthorizationPolicyObject[], authorizers: Authorizers, transport: Transport): AuthorizationLayers {
  const tried = policies.filter(isDryRun);
  const asked = policies
    .filter((policy) => !isDryRun(policy))
    .map((policy) => ({ policy, provider: authorizers.askedBy(policy, transport) }));
  const isDeny = ({ policy, provider }: (typeof asked)[number]) =>
    policy.action === "DENY" || (policy.action === "CUSTOM" && (provider === undefined || policy.rules === "invalid"));
  const compileAll = (chosen: typeof asked) =>
    rulesOf(
      chosen.map(({ policy }) => policy),
      transport,
    );
  const custom = [...authorizers.places(transport)].flatMap(([provider, place]): readonly CustomRule[] =>
    compileAll(asked.filter((one) => one.provider === provider && !isDeny(one))).map((rule) => ({ ...rule, provider, place })),
  );
  const ofAction = (action: PolicyAction) => asked.filter(({ policy }) => policy.action === action);
  const allowing = ofAction("ALLOW");
  return {
    ...(custom.length === 0 ? {} : { custom }),
    audit: compileAll(ofAction("AUDIT")),
    deny: compileAll(asked.filter(isDeny)),
    allow: allowing.length === 0 ? undefined : compileAll(allowing),
    ...(tried.length === 0 ? {} : { dryRun: dryRunLayers(tried, transport) }),
  };
}

/** The policies in force for a workload, oldest first. */
export const policiesOf = narrow((snapshot, workload: Workload): readonly AuthorizationPolicyObject[] =>
  holdingFor(snapshot, "authorizationPolicies", workload, (policy) => policyApplies(snapshot, policy, workload)),
);

type Authorization = Pick<WorkloadPolicy, "authorizers" | "http" | "tcp">;

/** Once for all workloads of the same policies; `client` matters only to whom CUSTOM policies ask. */
const authorizationBy = derived((snapshot, given: readonly AuthorizationPolicyObject[], client: Workload | undefined): Authorization => {
  const trustDomains = trustDomainsOf(snapshot);
  const policies = given.map((policy) => withAliases(policy, trustDomains));
  const authorizers = new Authorizers(snapshot, client, policies);
  const all = [...authorizers.usable.values()];
  return {
    ...(all.length === 0 ? {} : { authorizers: all }),
    http: layers(policies, authorizers, "http"),
    tcp: layers(policies, authorizers, "tcp"),
  };
});

const policyLists = new InternedLists<AuthorizationPolicyObject>();

/** The rule lists of a workload, and whom they ask. */
export function compileAuthorization(snapshot: MeshSnapshot, workload: Workload): Authorization {
  const policies = policyLists.of(policiesOf(snapshot, workload));
  return authorizationBy(snapshot, policies, policies.some(({ action }) => action === "CUSTOM") ? workload : undefined);
}
