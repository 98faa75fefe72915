/** A rule's condition, or one clause of it, as a predicate. */
import type { Condition } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import type { AttributeKey } from "../../policy/attributes.ts";
import type { Clause } from "../../policy/model.ts";
import { COMPILE_ATTRIBUTE, type Predicate } from "./attributes.ts";

/** The usual numbers of clauses have no list to go through: with many rules, each step aside is one into cold memory. */
function every(predicates: readonly Predicate[]): Predicate {
  const [first, second, third, ...more] = predicates;
  if (first === undefined) return () => true;
  if (second === undefined) return first;
  if (third === undefined) return (context) => first(context) && second(context);
  if (more.length === 0) return (context) => first(context) && second(context) && third(context);
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

/** OR of AND, as predicates that must all hold; no element is no constraint. */
function compileAlternatives(alternatives: readonly (readonly Clause[])[]): readonly Predicate[] {
  const [only] = alternatives;
  if (only === undefined) return [];
  if (alternatives.length === 1) return only.map(compileClause);
  return [some(alternatives.map((clauses) => every(clauses.map(compileClause))))];
}

/** Throws `invalid-configuration` for what this version does not know. */
export function compileCondition(condition: Condition): Predicate {
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
