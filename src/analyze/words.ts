/** Rules and what they saw, in words for people. User input is quoted, printable and bounded. */
import type { CompiledRule, Condition } from "../compile/workload-policy.ts";
import { attributeRow } from "../policy/attributes.ts";
import { quote } from "../policy/decode/report.ts";
import type { Clause, PolicyAction } from "../policy/model.ts";
import { formatValueMatch } from "../policy/pattern.ts";

/** Values that are shown of one clause. */
const MAX_VALUES = 8;

function joinedBy(word: "or" | "and", parts: readonly string[]): string {
  const shown = parts.length > MAX_VALUES ? [...parts.slice(0, MAX_VALUES), `${parts.length - MAX_VALUES} more`] : parts;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} ${word} ${shown.at(-1)}`;
}

/** `the method`, `the peer's service account`, `the header x-a`; a claim by its key, as claims may stand within claims. */
function subject({ attribute, argument }: Clause): string {
  const { when = "", argument: kind } = attributeRow(attribute);
  if (kind === "claim") return `the claim ${quote(when.replace("…", argument))}`;
  const words = attribute.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).replace(/\b(?:ip|sni)\b/, (word) => word.toUpperCase());
  const owner = attributeRow(attribute).needsMtls === true ? "the peer's" : "the";
  return `${owner} ${words}${argument === "" ? "" : ` ${quote(argument)}`}`;
}

function wanted({ values }: Clause): string {
  return joinedBy(
    "or",
    values.map((value) => (value.kind === "present" ? "anything" : quote(formatValueMatch(value)))),
  );
}

function describeClause(clause: Clause): string {
  return `${subject(clause)} is ${clause.negated ? "not " : ""}${wanted(clause)}`;
}

function describeAlternatives(alternatives: readonly (readonly Clause[])[]): readonly string[] {
  const each = alternatives.map((clauses) => clauses.map(describeClause).join(" and "));
  if (each.length < 2) return each;
  return [`(${each.join(", or ")})`];
}

function describeCondition(condition: Condition): string {
  if (condition.kind === "always") return "everything";
  if (condition.kind === "never") return "nothing";
  const { from, to, when } = condition;
  return `if ${[...describeAlternatives(from), ...describeAlternatives(to), ...when.map(describeClause)].join(" and ")}`;
}

const VERBS = { CUSTOM: "asks", AUDIT: "notes", DENY: "denies", ALLOW: "allows" } as const satisfies Record<PolicyAction, string>;

/** A rule as a sentence: `allows if the method is …`, `denies everything`, `asks provider `opa` of everything`. */
export function describeRule(action: PolicyAction, rule: Pick<CompiledRule, "condition"> & { readonly provider?: string }): string {
  const { condition, provider } = rule;
  const asked = provider === undefined ? "" : ` provider ${quote(provider)}${condition.kind === "when" ? "" : " of"}`;
  return `${VERBS[action]}${asked} ${describeCondition(condition)}`;
}

/** Why a clause does not hold, with the values that it saw. */
export function describeMiss(clause: Clause, seen: readonly string[]): string {
  if (seen.length === 0) {
    const because = attributeRow(clause.attribute).needsMtls === true ? ", since the caller proved no identity" : "";
    return `${subject(clause)} is missing${because}; the rule wants ${wanted(clause)}`;
  }
  const values = joinedBy("and", seen.map(quote));
  return `${subject(clause)} is ${values}, ${clause.negated ? `and the rule excludes ${wanted(clause)}` : `not ${wanted(clause)}`}`;
}

/** What cannot be said of a clause, because nobody knows what it would have seen. */
export function describeUnknown(clause: Clause): string {
  return `${subject(clause)} is unknown; the rule wants ${clause.negated ? "anything but " : ""}${wanted(clause)}`;
}
