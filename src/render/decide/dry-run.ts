/** The rules of dry runs, asked beside those that decide. */
import type { CompiledRule, DryRunLayers } from "../../compile/workload-policy.ts";
import type { Decision } from "../../policy/decision.ts";
import { asIfEnforced } from "../../policy/dry-run.ts";
import type { Origin } from "../../policy/origin.ts";
import { compileCondition } from "./condition.ts";
import type { DecisionContext } from "./context.ts";
import { type IndexedRule, RuleIndex } from "./rule-index.ts";

interface TriedRule extends IndexedRule {
  readonly origin: Origin;
}

function compileRules(rules: readonly CompiledRule[]): RuleIndex<TriedRule> {
  return new RuleIndex(
    rules.map(({ origin, condition }, position) => ({ origin, condition, position, applies: compileCondition(condition) })),
  );
}

/** Adds to a decision what it would be. Throws as `compileDecision`. */
export function compileDryRun({ deny, allow }: DryRunLayers): (decision: Decision, context: DecisionContext) => Decision {
  const denying = compileRules(deny);
  const allowing = allow === undefined ? undefined : compileRules(allow);
  return (decision, context) => {
    const allowed = allowing === undefined ? undefined : (allowing.first(context)?.origin ?? "none");
    return { ...decision, dryRun: asIfEnforced(decision, { deny: denying.first(context)?.origin, allow: allowed }) };
  };
}
