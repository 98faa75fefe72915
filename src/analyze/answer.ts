/** The answer to "what comes of this request, and why", as plain data: what `--json` prints and what people read is made of. */
import type { ServerPolicy } from "../compile/gateway-policy.ts";
import type { Place } from "../core/diagnostic.ts";
import { type Because, type Facts, formatBecause } from "../policy/decision.ts";
import { quote } from "../policy/decode/report.ts";
import type { PolicyAction } from "../policy/model.ts";
import { formatOrigin } from "../policy/origin.ts";
import { askedOf, type ServicePortAnswer } from "./asked-request.ts";
import { type DryRunExplanation, explainDryRun } from "./dry-run.ts";
import type { Entrance } from "./entrance.ts";
import { type Arrival, type Arriving, arrive, type RefusedStatus } from "./evaluate.ts";
import { type AskClause, type Explanation, explain, type LayerFinding, type Question, type RuleFinding } from "./explain.ts";
import { unrouted } from "./route.ts";
import type { TestRequest } from "./test-request.ts";
import { describeFinding, describePlace, type TokenFinding, type TokenVerdict } from "./token-finding.ts";
import { describeMiss, describeUnknown } from "./words.ts";
import { type AuthorizationInForce, type PolicyInForce, ruleInForce, type WorkloadView } from "./workload-view.ts";

export interface RuleAnswer {
  /** `NAMESPACE/POLICY[RULE]`. */
  readonly rule: string;
  /** Where it is written. */
  readonly place?: Place;
  readonly result: RuleFinding["result"];
  /** In words, the first first: the clauses that fail; for `unknown`, those of which nobody knows. */
  readonly reasons: readonly string[];
  readonly nearest: boolean;
}

export interface LayerAnswer {
  readonly action: PolicyAction;
  /** False where a layer before it has decided. */
  readonly asked: boolean;
  /** In the order in which they are asked. */
  readonly rules: readonly RuleAnswer[];
}

export interface ListenerAnswer extends Pick<Entrance, "name" | "bind" | "port" | "protocol" | "mtls"> {
  /** Of a gateway: the server that takes the connection, and whose TLS it speaks. */
  readonly server?: { readonly name: string; readonly security: ServerPolicy["security"]["kind"] };
  /** The PeerAuthentication that says the mode; absent where none does. */
  readonly mtlsBy?: PolicyInForce;
}

/** One token that a rule has found. */
export interface TokenAnswer extends TokenFinding {
  /** The RequestAuthentication of the rule. */
  readonly policy?: PolicyInForce;
  /** In words: which rule, and why it takes the token or does not. */
  readonly why: string;
}

export interface Answer {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** The SPIFFE ID that the caller proves; empty for plaintext. */
  readonly peer: string;
  readonly sourceIp: string;
  /** As the rules see it; absent for TCP, and where it is refused. */
  readonly request?: { readonly method: string; readonly path: string; readonly host: string };
  /** The tokens that rules look at, in that order. */
  readonly tokens: readonly TokenAnswer[];
  /** In words: tokens of the question that no rule looks at; absent where there are none. */
  readonly ignored?: readonly string[];
  /** The service's port that was asked for; absent where the workload was asked by its own name. */
  readonly service?: ServicePortAnswer;
  /** Whom a token proves, as `ISSUER/SUBJECT` where it says both; absent where none does. */
  readonly requester?: string;
  /** Absent where the workload has no listener for it. */
  readonly listener?: ListenerAnswer;
  /** `unknown`: it hangs on what nobody knows. */
  readonly effect: "allow" | "deny" | "refused" | "unknown";
  /** `NAMESPACE/POLICY[RULE]`, `default` or `no-policy`; empty for `refused` and `unknown`. */
  readonly by: string;
  /** The AUDIT rules that match. */
  readonly audit: readonly string[];
  /** In words. */
  readonly why: string;
  /** The status that a client gets with a refused token, or from a gateway whose routes lead nowhere. */
  readonly status?: RefusedStatus;
  /** CUSTOM where there is one, AUDIT, DENY, ALLOW; none where the request is refused before. */
  readonly layers: readonly LayerAnswer[];
  /** Absent where no policy of the workload is a dry run, and where no DENY or ALLOW rule is asked. */
  readonly dryRun?: DryRunAnswer;
}

/** What would come of it, were dry runs in force. */
export interface DryRunAnswer {
  readonly effect: "allow" | "deny" | "unknown";
  readonly by: string;
  readonly why: string;
  /** DENY and ALLOW, with the rules of dry runs alone. */
  readonly layers: readonly LayerAnswer[];
}

/** The engine's two halves: decisions, and clauses asked alone. */
export interface ExplainingEngine extends Arriving {
  readonly ask: AskClause;
}

function reasonsOf({ result, never, misses, unknown, provider }: RuleFinding, policy: AuthorizationInForce | undefined): readonly string[] {
  if (policy?.closed === true)
    return [`the policy is invalid, and so ${never ? "matches nothing" : "matches everything"} until it is mended`];
  if (never) return ["it has a field of HTTP requests, and a TCP connection has none"];
  if (result === "unknown") return unknown.map(describeUnknown);
  if (result === "match" && provider !== undefined) return [`it asks provider ${quote(provider)}`];
  return misses.map(({ clause, seen }) => describeMiss(clause, seen));
}

function toRuleAnswer(view: WorkloadView, finding: RuleFinding): RuleAnswer {
  const written = ruleInForce(view, finding.origin);
  const { origin, result, nearest } = finding;
  const place = written === undefined ? {} : { place: written.place };
  return { rule: formatOrigin(origin), ...place, result, reasons: reasonsOf(finding, written?.policy), nearest };
}

function describeBecause(because: Because): string {
  switch (because.kind) {
    case "rule":
      if (because.action === "CUSTOM") return "the provider that this CUSTOM rule asks denies, and it is asked before all others";
      return because.action === "DENY"
        ? "a DENY rule matches, and DENY is asked before ALLOW"
        : `the ${because.action} rule matches, and no DENY rule does`;
    case "default":
      return "ALLOW policies select this workload, and none of their rules matches";
    case "no-policy":
      return "no DENY rule matches, and no ALLOW policy selects this workload";
  }
}

type Verdict = Pick<Answer, "by" | "audit" | "why"> & { readonly effect: "allow" | "deny" | "unknown" };

/** Offline nobody can be asked: what is honest is what comes of the one answer, and that the other denies. */
function describeHanging({ asking, decision }: NonNullable<Explanation["hangsOn"]>, ifAllowed?: string): string {
  const rest = decision === undefined ? "it hangs on what is unknown" : `${decision.effect} by ${formatBecause(decision.because)}`;
  return `would ask provider ${quote(asking.provider)}, by ${formatOrigin(asking.origin)}: deny if it denies; if it allows, ${ifAllowed ?? rest}`;
}

function toVerdict({ decision, hangsOn }: Explanation): Verdict {
  if (hangsOn !== undefined) return { effect: "unknown", by: "", audit: [], why: describeHanging(hangsOn) };
  if (decision === undefined) return { effect: "unknown", by: "", audit: [], why: "it hangs on what is unknown" };
  const { effect, because, audit } = decision;
  return { effect, by: formatBecause(because), audit: audit.map(formatOrigin), why: describeBecause(because) };
}

function toListener(view: WorkloadView, { name, bind, port, protocol, mtls, server }: Entrance): ListenerAnswer {
  const mtlsBy = view.ports.find(({ listener }) => listener === name)?.mtlsBy;
  return {
    name,
    bind,
    port,
    protocol,
    ...(mtls === undefined ? {} : { mtls }),
    ...(mtlsBy === undefined ? {} : { mtlsBy }),
    ...(server === undefined ? {} : { server: { name: server.name, security: server.security.kind } }),
  };
}

function requestOf({ http }: Facts): Pick<Answer, "request"> {
  return http === undefined ? {} : { request: { method: http.method, path: http.path, host: http.host } };
}

function requesterOf({ requester }: Facts): Pick<Answer, "requester"> {
  if (requester === undefined) return {};
  const { iss, sub } = requester.claims;
  return { requester: `${typeof iss === "string" ? iss : ""}/${typeof sub === "string" ? sub : ""}` };
}

function toTokens({ policy, requestAuthentication }: WorkloadView, tokens: TokenVerdict | undefined): readonly TokenAnswer[] {
  return (tokens?.findings ?? []).map((finding): TokenAnswer => {
    const [rule, by] = [policy.requestAuthentication?.[finding.rule], requestAuthentication[finding.rule]];
    const why = rule === undefined ? finding.text : describeFinding(finding, rule, tokens?.now ?? 0);
    return { ...finding, why, ...(by === undefined ? {} : { policy: by }) };
  });
}

function toLayers(view: WorkloadView, layers: readonly LayerFinding[]): readonly LayerAnswer[] {
  return layers.map(({ action, asked, rules = [] }) => ({ action, asked, rules: rules.map((rule) => toRuleAnswer(view, rule)) }));
}

function toDryRun(view: WorkloadView, found: DryRunExplanation | undefined): Pick<Answer, "dryRun"> {
  if (found === undefined) return {};
  const { effect, by, why } = toVerdict(found.explanation);
  return { dryRun: { effect, by, why, layers: toLayers(view, found.layers) } };
}

/** What a workload's rules say of facts, of which some may be unknown. */
export function answerFacts(ask: AskClause, view: WorkloadView, listener: Entrance, question: Question): Answer {
  const { policy } = view;
  const { facts } = question;
  const rules = listener.protocol === "tcp" ? policy.tcp : policy.http;
  const explanation = explain(ask, rules, question);
  return {
    workload: policy.workload,
    peer: facts.peer ?? "",
    sourceIp: facts.sourceIp,
    ...requestOf(facts),
    tokens: [],
    ...requesterOf(facts),
    listener: toListener(view, listener),
    ...toVerdict(explanation),
    layers: toLayers(view, explanation.layers),
    ...toDryRun(view, explainDryRun(ask, rules, question)),
  };
}

/** The tokens of the question that nobody looks at, each in words. */
function ignoredTokens({ policy }: WorkloadView, { tokens }: TestRequest, { tokens: verdict, listener }: Arrival): readonly string[] {
  const findings = verdict?.findings ?? [];
  const left = tokens.filter(({ place }) => !findings.some((found) => found.place.kind === place.kind && found.place.name === place.name));
  const why =
    listener?.protocol === "tcp"
      ? "a TCP connection has no tokens"
      : policy.requestAuthentication === undefined
        ? "no RequestAuthentication applies to the workload"
        : "no rule of a RequestAuthentication looks for one there";
  return left.map(({ place }) => `in ${describePlace(place)}: ${why}`);
}

/** Where an authorizer denies, or would have to be asked, before a token is refused; undefined where all allow. */
function stoppedByAuthorizer({ ask }: ExplainingEngine, view: WorkloadView, arrival: Arrival): Answer | undefined {
  if (arrival.kind === "arrived" || arrival.asked === undefined || arrival.listener === undefined) return undefined;
  const question: Question = { facts: arrival.asked, knows: () => true };
  const { decision, hangsOn } = explain(ask, view.policy.http, question);
  const isDenied = decision?.because.kind === "rule" && decision.because.action === "CUSTOM";
  if (hangsOn === undefined && !isDenied) return undefined;
  const answered = answerFacts(ask, view, arrival.listener, question);
  if (hangsOn === undefined) return answered;
  const rest = arrival.kind === "unknown" ? "it hangs on a token" : `refused: ${arrival.why}`;
  return { ...answered, why: describeHanging(hangsOn, rest), layers: answered.layers.filter(({ action }) => action === "CUSTOM") };
}

/** What rules say, and then a gateway's routes. */
function answerArrived(ask: AskClause, view: WorkloadView, { listener, facts }: Extract<Arrival, { readonly kind: "arrived" }>): Answer {
  const answered = answerFacts(ask, view, listener, { facts, knows: () => true });
  const own = answered.effect === "allow" ? unrouted(listener, facts) : undefined;
  if (own === undefined) return answered;
  return { ...answered, effect: "refused", by: "", status: own.status, why: `${own.why}; the rules let it pass, by ${answered.by}` };
}

/** What comes of a request at a workload, and why. Throws `invalid-argument` for a question that has no one meaning. */
export function answer(engine: ExplainingEngine, view: WorkloadView, given: TestRequest): Answer {
  const { request, service } = askedOf(view, given);
  const arrival = arrive(engine, view.policy, request);
  const tokens = toTokens(view, arrival.tokens);
  const ignored = arrival.kind === "refused" && arrival.tokens === undefined ? [] : ignoredTokens(view, request, arrival);
  const more = { tokens, ...(service === undefined ? {} : { service }), ...(ignored.length === 0 ? {} : { ignored }) };
  if (arrival.kind === "arrived") return { ...answerArrived(engine.ask, view, arrival), ...more };
  const stopped = stoppedByAuthorizer(engine, view, arrival);
  if (stopped !== undefined) return { ...stopped, ...more };
  const { listener, why } = arrival;
  return {
    workload: view.policy.workload,
    peer: request.from ?? "",
    sourceIp: request.sourceIp ?? "127.0.0.1",
    ...more,
    ...(listener === undefined ? {} : { listener: toListener(view, listener) }),
    effect: arrival.kind,
    by: "",
    audit: [],
    why,
    ...(arrival.kind === "refused" && arrival.tokens !== undefined ? { status: arrival.tokens.status } : {}),
    layers: [],
  };
}
