/** What a rule comes to at one listener, and for callers of whom something is known: clause by clause, three-valued. */
import { attributeRow } from "../../policy/attributes.ts";
import type { Clause, PolicyAction, Protocol, Rule } from "../../policy/model.ts";
import type { ServerSide } from "../workload-policy.ts";

export type RuleBody = Pick<Rule, "from" | "to" | "when">;

/** What is known of a clause; undefined where it depends on who calls, and with what. */
export type Known = (clause: Clause) => boolean | undefined;

/** Where a workload accepts connections, as far as rules tell one place from another. */
export interface Listener {
  readonly port: number;
  readonly protocol: Protocol;
}

export function isHttpOnly({ attribute }: Clause): boolean {
  return attributeRow(attribute).layer === 7;
}

/** All listeners of a workload; a gateway's speak HTTP. */
export function listenersOf({ inbound, gateway }: ServerSide): readonly Listener[] {
  return [...inbound, ...(gateway?.listeners ?? []).map(({ port }) => ({ port, protocol: "http" as const }))];
}

/** OR of AND; no constraint where an element has nothing left to ask, undefined where none can match. */
function reduceAny(elements: RuleBody["from"], known: Known): RuleBody["from"] | undefined {
  if (elements.length === 0) return elements;
  const left = elements
    .filter((clauses) => clauses.every((clause) => known(clause) !== false))
    .map((clauses) => clauses.filter((clause) => known(clause) === undefined));
  if (left.length === 0) return undefined;
  return left.some((clauses) => clauses.length === 0) ? [] : left;
}

/** What is still asked; undefined where the rule cannot match. */
export function reduceRule(rule: RuleBody, known: Known): RuleBody | undefined {
  const from = reduceAny(rule.from, known);
  const to = reduceAny(rule.to, known);
  const when = reduceAny(rule.when.length === 0 ? [] : [rule.when], known);
  return from && to && when && { from, to, when: when.flat() };
}

/** The rule where the port is known; undefined where it names others only. */
export function onPort(rule: RuleBody, port: number): RuleBody | undefined {
  return reduceRule(rule, ({ attribute, values, negated }) =>
    attribute === "destinationPort" ? values.some((value) => value.kind === "port" && value.port === port) !== negated : undefined,
  );
}

/** As `onPort`; and on TCP, HTTP-only fields fall away, or with ALLOW the whole rule (AZ-8). */
export function atListener(rule: RuleBody, action: PolicyAction, { port, protocol }: Listener): RuleBody | undefined {
  const here = onPort(rule, port);
  if (here === undefined || protocol !== "tcp") return here;
  if (action === "ALLOW") return clausesOf(rule).some(isHttpOnly) ? undefined : here;
  return reduceRule(here, (clause) => (isHttpOnly(clause) ? true : undefined));
}

export function clausesOf({ from, to, when }: RuleBody): readonly Clause[] {
  return [...from.flat(), ...to.flat(), ...when];
}

export type Outcome = "never" | "always" | "partly";

/** When what is left of a rule matches. */
export function outcomeOf(rule: RuleBody | undefined): Outcome {
  if (rule === undefined) return "never";
  return clausesOf(rule).length === 0 ? "always" : "partly";
}
