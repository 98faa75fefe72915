/** One clause asked alone, for explanations: the engine's own answer, and what it saw. */
import type { Facts } from "../../policy/decision.ts";
import type { Clause } from "../../policy/model.ts";
import { OBSERVE_ATTRIBUTE } from "./attributes.ts";
import { compileClause } from "./condition.ts";
import { DecisionContext } from "./context.ts";

/** Whether a clause holds, and the values of its attribute; none where there is nothing to see. Throws as `compileDecision`. */
export function askClause(clause: Clause, facts: Facts): { readonly holds: boolean; readonly seen: readonly string[] } {
  const context = new DecisionContext(facts);
  return { holds: compileClause(clause)(context), seen: OBSERVE_ATTRIBUTE[clause.attribute](context, clause.argument) };
}
