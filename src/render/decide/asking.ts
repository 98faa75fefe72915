/** CUSTOM rules: whom a request or connection must be asked of, and who has not allowed it. */
import type { CustomRule } from "../../compile/workload-policy.ts";
import type { Asking, Decision, Facts } from "../../policy/decision.ts";
import { compileCondition } from "./condition.ts";
import type { DecisionContext } from "./context.ts";

export type Ask = (context: DecisionContext) => readonly Asking[];

const NOBODY: readonly Asking[] = [];

/** The first rule of each provider that matches. Throws as `compileDecision`. */
export function compileAsking(rules: readonly CustomRule[]): Ask {
  if (rules.length === 0) return () => NOBODY;
  const compiled = rules.map(({ provider, origin, condition }) => ({ asking: { provider, origin }, applies: compileCondition(condition) }));
  return (context) => {
    const first = new Map<string, Asking>();
    for (const { asking, applies } of compiled) if (!first.has(asking.provider) && applies(context)) first.set(asking.provider, asking);
    return [...first.values()];
  };
}

/** Closed: whoever has not been asked has not allowed. Nothing after it is asked, so that nothing is audited. */
export function refusedBy(asked: readonly Asking[], { authorizers }: Facts): Decision | undefined {
  const refused = asked.find(({ provider }) => authorizers?.get(provider) !== "allow");
  return refused === undefined
    ? undefined
    : { effect: "deny", because: { kind: "rule", action: "CUSTOM", origin: refused.origin }, audit: [] };
}
