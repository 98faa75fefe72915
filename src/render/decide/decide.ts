/**
 * The decision engine: a workload's rules compiled once into closures and asked for every request and connection. It
 * answers as an Envoy configured from the same policy does, with the same effect and the same origin.
 */
import type { AuthorizationLayers, CompiledRule, Condition, CustomRule, WorkloadPolicy } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import type { AttributeKey } from "../../policy/attributes.ts";
import type { Asking, Decision, Facts } from "../../policy/decision.ts";
import type { Clause, PolicyAction } from "../../policy/model.ts";
import type { Origin } from "../../policy/origin.ts";
import { COMPILE_ATTRIBUTE, type Predicate } from "./attributes.ts";
import { DecisionContext } from "./context.ts";

/**
 * `http` for requests, `tcp` for connections of which nothing above layer 4 is known. None throws. `asks…` says which
 * authorizers must be asked before; without the answer of one of them, the decision is to deny.
 */
export interface DecisionEngine {
  http(facts: Facts): Decision;
  tcp(facts: Facts): Decision;
  asksHttp(facts: Facts): readonly Asking[];
  asksTcp(facts: Facts): readonly Asking[];
}

/** What an audit rule adds to a decision is rare, so the decisions themselves are made once. */
interface Rule {
  readonly applies: Predicate;
  readonly origin: Origin;
  readonly decision: Decision;
}

const NO_AUDIT: readonly Origin[] = [];
const NO_POLICY: Decision = { effect: "allow", because: { kind: "no-policy" }, audit: NO_AUDIT };
const DEFAULT_DENY: Decision = { effect: "deny", because: { kind: "default" }, audit: NO_AUDIT };

function every(predicates: readonly Predicate[]): Predicate {
  const [only] = predicates;
  if (only !== undefined && predicates.length === 1) return only;
  return (context) => {
    for (const predicate of predicates) if (!predicate(context)) return false;
    return true;
  };
}

function some(predicates: readonly Predicate[]): Predicate {
  const [only] = predicates;
  if (only !== undefined && predicates.length === 1) return only;
  return (context) => {
    for (const predicate of predicates) if (predicate(context)) return true;
    return false;
  };
}

/** Throws `invalid-configuration` for an attribute that this version does not know. */
export function compileClause(clause: Clause): Predicate {
  // A policy may come from a control plane of another version: an attribute that this table lacks must not be passed over.
  if (!Object.hasOwn(COMPILE_ATTRIBUTE, clause.attribute)) {
    throw new AppError("invalid-configuration", `the attribute \`${String(clause.attribute)}\` is unknown`, {
      help: "the control plane and this proxy are of different versions: use the same one for both",
    });
  }
  const attribute: AttributeKey = clause.attribute;
  const matches = COMPILE_ATTRIBUTE[attribute](clause.values, clause.argument);
  return clause.negated ? (context) => !matches(context) : matches;
}

/** OR of AND; no element is no constraint. */
function compileAlternatives(alternatives: readonly (readonly Clause[])[]): readonly Predicate[] {
  return alternatives.length === 0 ? [] : [some(alternatives.map((clauses) => every(clauses.map(compileClause))))];
}

function compileCondition(condition: Condition): Predicate {
  switch (condition.kind) {
    case "never":
      return () => false;
    case "always":
      return () => true;
    case "when":
      return every([...compileAlternatives(condition.from), ...compileAlternatives(condition.to), ...condition.when.map(compileClause)]);
    default:
      throw new AppError("invalid-configuration", "a rule's condition is of an unknown kind");
  }
}

function compileRules(action: PolicyAction, rules: readonly CompiledRule[]): readonly Rule[] {
  const effect = action === "DENY" ? "deny" : "allow";
  return rules.map(({ origin, condition }) => ({
    applies: compileCondition(condition),
    origin,
    decision: { effect, because: { kind: "rule", action, origin }, audit: NO_AUDIT },
  }));
}

function firstMatch(rules: readonly Rule[], context: DecisionContext): Decision | undefined {
  for (const rule of rules) if (rule.applies(context)) return rule.decision;
  return undefined;
}

// === Authorizers ===

const NOBODY: readonly Asking[] = [];

/** The first rule of each provider that matches. */
function compileAsking(rules: readonly CustomRule[]): (context: DecisionContext) => readonly Asking[] {
  if (rules.length === 0) return () => NOBODY;
  const compiled = rules.map(({ provider, origin, condition }) => ({ asking: { provider, origin }, applies: compileCondition(condition) }));
  return (context) => {
    const first = new Map<string, Asking>();
    for (const { asking, applies } of compiled) if (!first.has(asking.provider) && applies(context)) first.set(asking.provider, asking);
    return [...first.values()];
  };
}

/** Closed: whoever has not been asked has not allowed. */
function refusedBy(asked: readonly Asking[], { authorizers }: Facts): Decision | undefined {
  const refused = asked.find(({ provider }) => authorizers?.get(provider) !== "allow");
  if (refused === undefined) return undefined;
  return { effect: "deny", because: { kind: "rule", action: "CUSTOM", origin: refused.origin }, audit: NO_AUDIT };
}

// === All layers ===

interface CompiledLayers {
  readonly decide: (facts: Facts) => Decision;
  readonly asks: (facts: Facts) => readonly Asking[];
}

/** AUDIT collects and never blocks, then CUSTOM, then the first DENY, then the first ALLOW, all in list order (Istio AZ-1). */
function compileLayers(layers: AuthorizationLayers): CompiledLayers {
  const asks = compileAsking(layers.custom ?? []);
  const rules = compileRuleLayers(layers);
  if (layers.custom === undefined) return { decide: (facts) => rules(new DecisionContext(facts)), asks: () => NOBODY };
  return {
    decide: (facts) => {
      const context = new DecisionContext(facts);
      const asked = asks(facts.asked === undefined ? context : new DecisionContext(facts.asked));
      return refusedBy(asked, facts) ?? rules(context);
    },
    asks: (facts) => asks(new DecisionContext(facts)),
  };
}

function compileRuleLayers(layers: AuthorizationLayers): (context: DecisionContext) => Decision {
  const audit = compileRules("AUDIT", layers.audit);
  const deny = compileRules("DENY", layers.deny);
  const allow = layers.allow === undefined ? undefined : compileRules("ALLOW", layers.allow);
  const verdict = (context: DecisionContext): Decision =>
    firstMatch(deny, context) ?? (allow === undefined ? NO_POLICY : (firstMatch(allow, context) ?? DEFAULT_DENY));
  if (audit.length === 0) return verdict;
  return (context) => {
    const matched = audit.filter((rule) => rule.applies(context)).map((rule) => rule.origin);
    return matched.length === 0 ? verdict(context) : { ...verdict(context), audit: matched };
  };
}

/** Compiles a workload's policy. Throws `invalid-configuration` for what this version does not know, so that it is never passed over. */
export function compileDecision(policy: Pick<WorkloadPolicy, "http" | "tcp">): DecisionEngine {
  const [http, tcp] = [compileLayers(policy.http), compileLayers(policy.tcp)];
  return { http: http.decide, tcp: tcp.decide, asksHttp: http.asks, asksTcp: tcp.asks };
}
