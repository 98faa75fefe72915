/** Why a decision is as it is: every rule with what it missed, as far as the facts are known. */
import type { AuthorizationLayers, CompiledRule, CustomRule } from "../compile/workload-policy.ts";
import type { Asking, Because, Decision, Facts } from "../policy/decision.ts";
import type { Clause, PolicyAction } from "../policy/model.ts";
import type { Origin } from "../policy/origin.ts";

/** One clause asked alone, as `render/decide` answers it. */
export type AskClause = (clause: Clause, facts: Facts) => { readonly holds: boolean; readonly seen: readonly string[] };

export interface Question {
  readonly facts: Facts;
  /** Whether the facts tell of a clause's attribute; a clause on any other neither holds nor fails. */
  readonly knows: (clause: Clause) => boolean;
}

export interface Miss {
  readonly clause: Clause;
  /** None where there was nothing to see. */
  readonly seen: readonly string[];
}

export interface RuleFinding {
  readonly origin: Origin;
  /** Of a CUSTOM rule: whom it asks. */
  readonly provider?: string;
  /** `unknown`: no clause fails, and of some nobody knows. */
  readonly result: "match" | "miss" | "unknown";
  /** The clauses that fail, in the order in which they are written; of several alternatives, those of the nearest. */
  readonly misses: readonly Miss[];
  readonly unknown: readonly Clause[];
  /** The rule matches nothing, whatever is asked. */
  readonly never: boolean;
  /** No rule of its layer matches, and none misses by fewer clauses. */
  readonly nearest: boolean;
}

export interface LayerFinding {
  readonly action: PolicyAction;
  /** False where a layer before it has decided. */
  readonly asked: boolean;
  /** In the order in which they are asked; undefined where the layer has no policy. */
  readonly rules: readonly RuleFinding[] | undefined;
}

export interface Explanation {
  readonly layers: readonly LayerFinding[];
  /** Undefined where it hangs on what is unknown. */
  readonly decision: Decision | undefined;
  /** The authorizer on whose answer it hangs, and what comes of it if that allows; absent where all that are asked are known. */
  readonly hangsOn?: { readonly asking: Asking; readonly decision: Decision | undefined };
}

type Found = Pick<RuleFinding, "misses" | "unknown">;

const NOTHING: Found = { misses: [], unknown: [] };

function findClauses(ask: AskClause, { facts, knows }: Question, clauses: readonly Clause[]): Found {
  const known = clauses.filter(knows);
  const misses = known.flatMap((clause): Miss[] => {
    const { holds, seen } = ask(clause, facts);
    return holds ? [] : [{ clause, seen }];
  });
  return { misses, unknown: clauses.filter((clause) => !knows(clause)) };
}

/** Of alternatives, the one that is nearest to a match; none is no constraint. */
function findAlternatives(ask: AskClause, question: Question, alternatives: readonly (readonly Clause[])[]): Found {
  const found = alternatives.map((clauses) => findClauses(ask, question, clauses));
  const nearest = found.sort((left, right) => left.misses.length - right.misses.length || left.unknown.length - right.unknown.length)[0];
  return nearest ?? NOTHING;
}

function findRule(ask: AskClause, question: Question, { origin, condition }: CompiledRule): RuleFinding {
  if (condition.kind === "always") return { origin, result: "match", ...NOTHING, never: false, nearest: false };
  if (condition.kind === "never") return { origin, result: "miss", ...NOTHING, never: true, nearest: false };
  const parts = [
    findAlternatives(ask, question, condition.from),
    findAlternatives(ask, question, condition.to),
    findClauses(ask, question, condition.when),
  ];
  const misses = parts.flatMap((part) => part.misses);
  const unknown = parts.flatMap((part) => part.unknown);
  const result = misses.length > 0 ? "miss" : unknown.length > 0 ? "unknown" : "match";
  return { origin, result, misses, unknown, never: false, nearest: false };
}

/** Marks the first of the rules that miss by the fewest clauses, where none matches. */
function withNearest(rules: readonly RuleFinding[]): readonly RuleFinding[] {
  if (rules.some(({ result }) => result !== "miss")) return rules;
  const candidates = rules.filter(({ never }) => !never);
  const fewest = Math.min(...candidates.map(({ misses }) => misses.length));
  const nearest = candidates.find(({ misses }) => misses.length === fewest);
  return rules.map((rule) => (rule === nearest ? { ...rule, nearest: true } : rule));
}

/** What a layer says: its first rule that does not miss. `unknown` where that rule may match or not. */
function verdictOf(action: PolicyAction, rules: readonly RuleFinding[]): Because | "unknown" | undefined {
  const first = rules.find(({ result }) => result !== "miss");
  if (first === undefined) return undefined;
  return first.result === "unknown" ? "unknown" : { kind: "rule", action, origin: first.origin };
}

function decide(
  deny: Because | "unknown" | undefined,
  allow: Because | "unknown" | undefined,
  hasAllow: boolean,
): Omit<Decision, "audit"> | undefined {
  if (deny === "unknown") return undefined;
  if (deny !== undefined) return { effect: "deny", because: deny };
  if (!hasAllow) return { effect: "allow", because: { kind: "no-policy" } };
  if (allow === "unknown") return undefined;
  return allow === undefined ? { effect: "deny", because: { kind: "default" } } : { effect: "allow", because: allow };
}

type CustomFinding = RuleFinding & { readonly provider: string };

function findCustom(ask: AskClause, question: Question, rules: readonly CustomRule[]): readonly CustomFinding[] {
  // CUSTOM rules are about the request as it was when authorizers were asked.
  const asked: Question = { ...question, facts: question.facts.asked ?? question.facts };
  return rules.map((rule) => ({ ...findRule(ask, asked, rule), provider: rule.provider }));
}

/** What the authorizers say: a rule that one of them has refused, or the first that nobody has answered; undefined where all allow. */
function verdictOfCustom(rules: readonly CustomFinding[], { authorizers }: Facts): Because | Asking | "unknown" | undefined {
  const open = rules.filter(({ result, provider }) => result !== "miss" && authorizers?.get(provider) !== "allow");
  const first = open[0];
  if (first === undefined) return undefined;
  const { origin, provider, result } = first;
  if (result === "unknown") return "unknown";
  return authorizers?.get(provider) === "deny" ? { kind: "rule", action: "CUSTOM", origin } : { provider, origin };
}

function isAsking(verdict: Because | Asking): verdict is Asking {
  return "provider" in verdict;
}

/** Asks every rule of a workload in the order of evaluation: CUSTOM, AUDIT, DENY, ALLOW (AZ-1). */
export function explain(ask: AskClause, layers: AuthorizationLayers, question: Question): Explanation {
  const find = (rules: readonly CompiledRule[] | undefined): readonly RuleFinding[] | undefined =>
    rules === undefined ? undefined : withNearest(rules.map((rule) => findRule(ask, question, rule)));
  const custom = findCustom(ask, question, layers.custom ?? []);
  const [audit = [], deny = [], allow] = [find(layers.audit), find(layers.deny), find(layers.allow)];
  const asked = verdictOfCustom(custom, question.facts);
  const refused = asked !== undefined && asked !== "unknown" && !isAsking(asked);
  const denied = verdictOf("DENY", deny);
  const rest = decide(denied, verdictOf("ALLOW", allow ?? []), allow !== undefined);
  const noted = audit.filter(({ result }) => result === "match").map(({ origin }) => origin);
  const byRules = rest === undefined ? undefined : { ...rest, audit: noted };
  return {
    layers: [
      ...(layers.custom === undefined ? [] : [{ action: "CUSTOM", asked: true, rules: custom } as const]),
      { action: "AUDIT", asked: !refused, rules: audit },
      { action: "DENY", asked: !refused, rules: deny },
      { action: "ALLOW", asked: !refused && (denied === undefined || denied === "unknown"), rules: allow },
    ],
    ...overall(asked, byRules),
  };
}

/** CUSTOM before all others: what it refuses has no audit, as nothing after it is asked. */
function overall(
  asked: Because | Asking | "unknown" | undefined,
  byRules: Decision | undefined,
): Pick<Explanation, "decision" | "hangsOn"> {
  if (asked === undefined) return { decision: byRules };
  if (asked === "unknown") return { decision: undefined };
  if (isAsking(asked)) return { decision: undefined, hangsOn: { asking: asked, decision: byRules } };
  return { decision: { effect: "deny", because: asked, audit: [] } };
}
