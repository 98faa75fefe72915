/**
 * The decision engine: a workload's rules compiled once into closures and asked for every request and connection. It
 * answers as an Envoy configured from the same policy does, with the same effect and the same origin.
 */
import type { AuthorizationLayers, CompiledRule, WorkloadPolicy } from "../../compile/workload-policy.ts";
import type { Asking, Decision, Facts } from "../../policy/decision.ts";
import type { PolicyAction } from "../../policy/model.ts";
import { type Origin, REVOKED } from "../../policy/origin.ts";
import { compileAsking, refusedBy } from "./asking.ts";
import { compileCondition } from "./condition.ts";
import { DecisionContext } from "./context.ts";
import { type IndexedRule, RuleIndex } from "./rule-index.ts";

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
interface Rule extends IndexedRule {
  readonly origin: Origin;
  readonly decision: Decision;
}

const NO_AUDIT: readonly Origin[] = [];
const NO_POLICY: Decision = { effect: "allow", because: { kind: "no-policy" }, audit: NO_AUDIT };
const DEFAULT_DENY: Decision = { effect: "deny", because: { kind: "default" }, audit: NO_AUDIT };

function compileRules(action: PolicyAction, rules: readonly CompiledRule[], offset = 0): readonly Rule[] {
  const effect = action === "DENY" ? "deny" : "allow";
  return rules.map(({ origin, condition }, index) => ({
    position: offset + index,
    condition,
    applies: compileCondition(condition),
    origin,
    decision: { effect, because: { kind: "rule", action, origin }, audit: NO_AUDIT },
  }));
}

/** Arranged when it is first asked: of most workloads, one of the two protocols never is. */
function lazyIndex(rules: readonly Rule[]): () => RuleIndex<Rule> {
  let index: RuleIndex<Rule> | undefined;
  return () => {
    index ??= new RuleIndex(rules);
    return index;
  };
}

/** AUDIT collects and never blocks, then the first DENY, then the first ALLOW, all in list order (Istio AZ-1). */
function compileRuleLayers(layers: AuthorizationLayers): (context: DecisionContext) => Decision {
  const { deny, allow } = layers;
  // One list, since the first ALLOW counts only where no DENY applies, which is what the first rule of both says.
  const rules = lazyIndex([...compileRules("DENY", deny), ...compileRules("ALLOW", allow ?? [], deny.length)]);
  const otherwise = allow === undefined ? NO_POLICY : DEFAULT_DENY;
  if (layers.audit.length === 0) return (context) => rules().first(context)?.decision ?? otherwise;
  const audit = lazyIndex(compileRules("AUDIT", layers.audit));
  return (context) => {
    const verdict = rules().first(context)?.decision ?? otherwise;
    const matched = audit().all(context);
    return matched.length === 0 ? verdict : { ...verdict, audit: matched.map(({ origin }) => origin) };
  };
}

interface CompiledLayers {
  readonly decide: (facts: Facts) => Decision;
  readonly asks: (facts: Facts) => readonly Asking[];
}

/** CUSTOM before all others (Istio AZ-1), then peers that prove themselves by a revoked certificate. */
function compileLayers(layers: AuthorizationLayers, revoked: ReadonlySet<string>): CompiledLayers {
  const asks = compileAsking(layers.custom ?? []);
  const rules = revokedFirst(revoked, compileRuleLayers(layers));
  const asksOf = (facts: Facts) => asks(new DecisionContext(facts));
  if (layers.custom === undefined) return { decide: (facts) => rules(new DecisionContext(facts)), asks: asksOf };
  return { decide: (facts) => refusedBy(asksOf(facts.asked ?? facts), facts) ?? rules(new DecisionContext(facts)), asks: asksOf };
}

/** Before every DENY; AUDIT sees it all the same. */
function revokedFirst(revoked: ReadonlySet<string>, rules: (context: DecisionContext) => Decision): (context: DecisionContext) => Decision {
  if (revoked.size === 0) return rules;
  return (context) => {
    const verdict = rules(context);
    const { peerCertificate } = context.facts;
    if (peerCertificate === undefined || !revoked.has(peerCertificate)) return verdict;
    return { effect: "deny", because: { kind: "rule", action: "DENY", origin: REVOKED }, audit: verdict.audit };
  };
}

/** Compiles a workload's policy. Throws `invalid-configuration` for what this version does not know, so that it is never passed over. */
export function compileDecision(policy: Pick<WorkloadPolicy, "http" | "tcp" | "revoked">): DecisionEngine {
  const revoked = new Set(policy.revoked);
  const [http, tcp] = [compileLayers(policy.http, revoked), compileLayers(policy.tcp, revoked)];
  return { http: http.decide, tcp: tcp.decide, asksHttp: http.asks, asksTcp: tcp.asks };
}
