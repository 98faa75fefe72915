/** Parts of a rule that no request can meet: their exceptions leave nothing over, or they ask for two values of one thing. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import type { AttributeKey } from "../../policy/attributes.ts";
import { quote } from "../../policy/decode/report.ts";
import { blockContains } from "../../policy/ip-block.ts";
import type { Clause, Rule } from "../../policy/model.ts";
import { formatValueMatch, type StringMatch, type ValueMatch } from "../../policy/pattern.ts";
import { fieldName } from "./field-name.ts";
import { named, type PlacedRule } from "./placed-rule.ts";

/** Whether `wide` matches all that `narrow` matches; false where that is not plain to see. */
function covers(wide: ValueMatch, narrow: ValueMatch): boolean {
  if (wide.kind === "present") return true;
  if (wide.kind === "ip")
    return narrow.kind === "ip" && wide.block.prefix <= narrow.block.prefix && blockContains(wide.block, narrow.block);
  if (wide.kind === "prefix") return (narrow.kind === "exact" || narrow.kind === "prefix") && narrow.value.startsWith(wide.value);
  if (wide.kind === "suffix") return (narrow.kind === "exact" || narrow.kind === "suffix") && narrow.value.endsWith(wide.value);
  return wide.kind === narrow.kind && formatValueMatch(wide) === formatValueMatch(narrow);
}

/** The two clauses of an AND of which one excludes all that the other names. */
function contradictionIn(clauses: readonly Clause[]): readonly [Clause, Clause] | undefined {
  for (const positive of clauses.filter(({ negated }) => !negated)) {
    const negative = clauses.find(
      ({ attribute, argument, negated, values }) =>
        negated &&
        attribute === positive.attribute &&
        argument === positive.argument &&
        positive.values.every((value) => values.some((excluded) => covers(excluded, value))),
    );
    if (negative !== undefined) return [positive, negative];
  }
  return undefined;
}

// === Two values at once ===

/** Attributes of which a connection or request has one value; headers and claims may have several. Ports are looked at where they are heard. */
const SINGLE: ReadonlySet<AttributeKey> = new Set([
  ...(["principal", "namespace", "serviceAccount", "sourceIp", "remoteIp", "destinationIp"] as const),
  ...(["host", "method", "path", "sni", "requestPrincipal"] as const),
]);
/** Compared without regard to case. */
const FOLDED: ReadonlySet<AttributeKey> = new Set(["host", "sni"]);

/** Whether a text that is exactly one value, or begins or ends with it, can be what the other asks for. */
function textsMeet(left: StringMatch, right: StringMatch): boolean {
  if (left.kind === "present" || right.kind === "present") return true;
  if (left.kind === "exact" || right.kind === "exact") return covers(left, right) || covers(right, left);
  if (left.kind === "prefix" && right.kind === "prefix") return left.value.startsWith(right.value) || right.value.startsWith(left.value);
  if (left.kind === "suffix" && right.kind === "suffix") return left.value.endsWith(right.value) || right.value.endsWith(left.value);
  return true;
}

function isText(value: ValueMatch): value is StringMatch {
  return value.kind === "exact" || value.kind === "prefix" || value.kind === "suffix" || value.kind === "present";
}

function folded(value: StringMatch): StringMatch {
  return value.kind === "present" ? value : { ...value, value: value.value.toLowerCase() };
}

/** A pattern may stand for any side of such a name, and the names of the mesh's trust domain for each other. */
function namesMeet(left: ValueMatch, right: ValueMatch): boolean {
  if (left.kind !== "exact" || right.kind !== "exact") return true;
  const [one = "", other = ""] = [left, right].map(({ value }) => value.replace(/^[^/]*\/ns\//, "/ns/"));
  return one === other;
}

/** Whether something may be both; true where that is not plain to see. */
function mayMeet(attribute: AttributeKey, left: ValueMatch, right: ValueMatch): boolean {
  if (attribute === "principal" || attribute === "requestPrincipal") return namesMeet(left, right);
  if (isText(left) && isText(right)) return FOLDED.has(attribute) ? textsMeet(folded(left), folded(right)) : textsMeet(left, right);
  if (left.kind === "ip" && right.kind === "ip") return covers(left, right) || covers(right, left);
  if (left.kind !== right.kind || left.kind === "template") return true;
  return formatValueMatch(left) === formatValueMatch(right);
}

/** The two clauses of an AND that ask for different values of one thing. */
function disagreementIn(clauses: readonly Clause[]): readonly [Clause, Clause] | undefined {
  const positive = clauses.filter(({ attribute, negated }) => !negated && SINGLE.has(attribute));
  for (const [index, left] of positive.entries()) {
    const right = positive
      .slice(index + 1)
      .find(
        ({ attribute, values }) =>
          attribute === left.attribute && !left.values.some((one) => values.some((other) => mayMeet(attribute, one, other))),
      );
    if (right !== undefined) return [left, right];
  }
  return undefined;
}

const ALTERNATIVES =
  "values of one list are alternatives, and everything else of a rule holds at once: write them into one list, or into rules of their own";

function wordsOf({ values }: Clause): string {
  return named(values.map((value) => quote(formatValueMatch(value))));
}

/** Each source, operation and the conditions, which no request can meet, as it would have to be two things at once. */
export function disagreements({ policy, rule, name, place }: PlacedRule): readonly Diagnostic[] {
  return inParts(rule, disagreementIn).map(([part, [left, right]]) => ({
    code: "GAR0219",
    message: `${part} of ${policy.action} rule ${name} never matches: \`${fieldName(left)}\` must be ${wordsOf(left)}, and ${wordsOf(right)} too`,
    place,
    help: ALTERNATIVES,
  }));
}

// === Exceptions that leave nothing over ===

type Pair = readonly [Clause, Clause];

/** What is found in the conditions, which concerns the whole rule, or else in each source and operation with them. */
function inParts({ from, to, when }: Rule, find: (clauses: readonly Clause[]) => Pair | undefined): readonly (readonly [string, Pair])[] {
  const inWhen = find(when);
  if (inWhen !== undefined) return [["the condition", inWhen]];
  const parts = [...from.map((clauses) => ["a source", clauses] as const), ...to.map((clauses) => ["an operation", clauses] as const)];
  return parts.flatMap(([part, clauses]) => {
    const pair = find([...clauses, ...when]);
    return pair === undefined ? [] : [[part, pair] as const];
  });
}

/** Each source, operation and the conditions, which no request can meet. */
export function contradictions({ policy, rule, name, place }: PlacedRule): readonly Diagnostic[] {
  const messages = inParts(rule, contradictionIn).map(
    ([part, [positive, negative]]) =>
      `${part} of ${policy.action} rule ${name} never matches: \`${fieldName(negative)}\` excludes all that \`${fieldName(positive)}\` names`,
  );
  const help = "remove one of the two; values of `notX` are exceptions from a wider `X`";
  return [...new Set(messages)].map((message) => ({ code: "GAR0212", message, place, help }));
}
