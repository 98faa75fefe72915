/** Rules that ask who calls where nobody may have proved it: without mutual TLS, or without a RequestAuthentication. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { attributeRow } from "../../policy/attributes.ts";
import type { Clause, PolicyAction } from "../../policy/model.ts";
import type { EffectiveMtls } from "../workload-policy.ts";
import { allClauses, named, type PlacedRule } from "./placed-rule.ts";

/** What comes of a rule for callers whose identity is unknown: a clause on it never matches, a negated one always. */
const FOR_UNKNOWN: Readonly<Record<PolicyAction, { readonly positive: string; readonly negated: string }>> = {
  ALLOW: { positive: "does not allow them, and no other rule may", negated: "allows them, whoever they are" },
  DENY: { positive: "does not deny them", negated: "denies them all" },
  CUSTOM: { positive: "does not ask of them", negated: "asks of them all" },
  AUDIT: { positive: "does not note them", negated: "notes them all" },
};

function effectOf(action: PolicyAction, clauses: readonly Clause[]): string {
  const side = clauses.every(({ negated }) => negated) ? "negated" : "positive";
  return side === "positive" && action === "ALLOW" ? "never allows them" : FOR_UNKNOWN[action][side];
}

const CALLERS: Readonly<Record<Exclude<EffectiveMtls, "STRICT">, string>> = {
  PERMISSIVE: "callers in plaintext have no identity there, and it",
  DISABLE: "no caller has an identity there, and it",
};

const HELPS: Readonly<Record<Exclude<EffectiveMtls, "STRICT">, string>> = {
  PERMISSIVE:
    'set the mode to STRICT by a PeerAuthentication; until then, deny plaintext with `notPrincipals: ["*"]` where it must not come',
  DISABLE: "set the mode to STRICT or PERMISSIVE by a PeerAuthentication: identities come by mutual TLS only",
};

/** Identities of peers on ports that take plaintext. */
export function identitiesWithoutMtls({ policy, rule, name, place, selected }: PlacedRule): readonly Diagnostic[] {
  const clauses = allClauses(rule).filter(({ attribute }) => attributeRow(attribute).needsMtls === true);
  if (clauses.length === 0) return [];
  return (["PERMISSIVE", "DISABLE"] as const).flatMap((mode): Diagnostic[] => {
    const ports = selected.flatMap(({ workload, inbound }) =>
      inbound.filter(({ mtls }) => mtls === mode).map(({ port }) => `${workload}:${port}`),
    );
    if (ports.length === 0) return [];
    const message = `${policy.action} rule ${name} asks for the peer's identity, and the mode is ${mode} at ${named(ports)}: ${CALLERS[mode]} ${effectOf(policy.action, clauses)}`;
    return [{ code: "GAR0204", message, place, help: HELPS[mode] }];
  });
}

/** Requesters that no rule for tokens could ever prove. */
export function requestersWithoutTokens({ policy, rule, name, place, selected }: PlacedRule): readonly Diagnostic[] {
  const clauses = allClauses(rule).filter(({ attribute }) => attributeRow(attribute).needsToken === true);
  if (clauses.length === 0) return [];
  const open = selected.filter(({ requestAuthentication }) => requestAuthentication === undefined).map(({ workload }) => workload);
  if (open.length === 0) return [];
  const message = `${policy.action} rule ${name} asks for a token, and no RequestAuthentication selects ${named(open)}: nobody's token counts there, and it ${effectOf(policy.action, clauses)}`;
  return [{ code: "GAR0205", message, place, help: "add a RequestAuthentication with the issuer of the tokens for these workloads" }];
}
