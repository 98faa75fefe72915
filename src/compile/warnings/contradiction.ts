/** Parts of a rule whose positive and negative values leave nothing over. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { blockContains } from "../../policy/ip-block.ts";
import type { Clause } from "../../policy/model.ts";
import { formatValueMatch, type ValueMatch } from "../../policy/pattern.ts";
import { fieldName } from "./field-name.ts";
import type { PlacedRule } from "./placed-rule.ts";

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

/** Each source, operation and the conditions, which no request can meet. */
export function contradictions({ policy, rule, name, place }: PlacedRule): readonly Diagnostic[] {
  const { from, to, when } = rule;
  const inWhen = contradictionIn(when);
  const parts = [
    ...from.map((clauses) => ["a source", contradictionIn([...clauses, ...when])] as const),
    ...to.map((clauses) => ["an operation", contradictionIn([...clauses, ...when])] as const),
  ];
  const found = inWhen === undefined ? parts : [["the condition", inWhen] as const];
  const messages = found.flatMap(([part, pair]) =>
    pair === undefined
      ? []
      : [
          `${part} of ${policy.action} rule ${name} never matches: \`${fieldName(pair[1])}\` excludes all that \`${fieldName(pair[0])}\` names`,
        ],
  );
  const help = "remove one of the two; values of `notX` are exceptions from a wider `X`";
  return [...new Set(messages)].map((message) => ({ code: "GAR0212", message, place, help }));
}
