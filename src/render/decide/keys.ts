/** The keys that a whole condition has in a dimension. */
import type { Condition } from "../../compile/workload-policy.ts";
import type { Clause } from "../../policy/model.ts";
import { coordinatesOf, type Dimension, type Key } from "./dimensions.ts";

type Keys = readonly Key[] | undefined;

/** The keys of which a text must have one for the clause to hold; undefined where the clause has none in the dimension. */
function clauseKeys(clause: Clause, dimension: Dimension): Keys {
  const coordinate = coordinatesOf(clause).find((candidate) => candidate.dimension.name === dimension.name);
  if (coordinate === undefined) return undefined;
  const keys: Key[] = [];
  for (const value of clause.values) {
    const key = coordinate.keyOf(value);
    if (key === undefined) return undefined;
    keys.push(key);
  }
  return keys;
}

/** Of conditions that must all hold, the one with the fewest keys. */
function fewest(all: readonly Keys[]): Keys {
  return all.reduce((best, keys) => (best === undefined || (keys !== undefined && keys.length < best.length) ? keys : best), undefined);
}

/** Of alternatives, the keys of all; undefined as soon as one has none. */
function union(alternatives: readonly (readonly Clause[])[], dimension: Dimension): Keys {
  const keys: Key[] = [];
  for (const clauses of alternatives) {
    const own = fewest(clauses.map((clause) => clauseKeys(clause, dimension)));
    if (own === undefined) return undefined;
    keys.push(...own);
  }
  return alternatives.length === 0 ? undefined : keys;
}

/** The keys of which a request must show one for the condition to hold; undefined where the dimension does not bind it. */
export function keysOf(condition: Condition, dimension: Dimension): Keys {
  if (condition.kind !== "when") return condition.kind === "never" ? [] : undefined;
  const { from, to, when } = condition;
  return fewest([union(from, dimension), union(to, dimension), ...when.map((clause) => clauseKeys(clause, dimension))]);
}

/** Every dimension that a clause of the condition has to do with. */
export function dimensionsOf(condition: Condition): readonly Dimension[] {
  if (condition.kind !== "when") return [];
  return [...condition.from.flat(), ...condition.to.flat(), ...condition.when].flatMap((clause) =>
    coordinatesOf(clause).map(({ dimension }) => dimension),
  );
}
