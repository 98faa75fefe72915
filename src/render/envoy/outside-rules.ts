/**
 * Rules as they are for clients without an identity of the mesh. Envoy asks for a peer's identity of whatever certificate the
 * connection has; a client certificate that a CA of outsiders vouches for could name any workload in it.
 */
import type { AuthorizationLayers, CompiledRule, Condition } from "../../compile/workload-policy.ts";
import { attributeRow } from "../../policy/attributes.ts";
import type { Clause } from "../../policy/model.ts";

function asksForPeer({ attribute }: Clause): boolean {
  return attributeRow(attribute).needsMtls === true;
}

/** What remains of clauses that must all hold, where a fact that is not there matches no value; undefined: they cannot. */
function remaining(clauses: readonly Clause[]): readonly Clause[] | undefined {
  if (clauses.some((clause) => asksForPeer(clause) && !clause.negated)) return undefined;
  return clauses.filter((clause) => !asksForPeer(clause));
}

/** Of alternatives those that can hold; undefined where none can. No alternative at all is no constraint. */
function alternatives(all: readonly (readonly Clause[])[]): readonly (readonly Clause[])[] | undefined {
  const possible = all.flatMap((clauses) => {
    const left = remaining(clauses);
    return left === undefined ? [] : [left];
  });
  if (all.length > 0 && possible.length === 0) return undefined;
  return possible.some((clauses) => clauses.length === 0) ? [] : possible;
}

function withoutPeer(condition: Condition): Condition {
  if (condition.kind !== "when") return condition;
  const [from, to, when] = [alternatives(condition.from), alternatives(condition.to), remaining(condition.when)];
  if (from === undefined || to === undefined || when === undefined) return { kind: "never" };
  return from.length + to.length + when.length === 0 ? { kind: "always" } : { kind: "when", from, to, when };
}

function each(rules: readonly CompiledRule[]): readonly CompiledRule[] {
  return rules.map(({ origin, condition }) => ({ origin, condition: withoutPeer(condition) }));
}

/** The same rules, asked of somebody who is nobody in the mesh. */
export function withoutPeers({ audit, deny, allow }: AuthorizationLayers): AuthorizationLayers {
  return { audit: each(audit), deny: each(deny), allow: allow === undefined ? undefined : each(allow) };
}
