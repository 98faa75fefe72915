/** What the trust domain's other names mean: in policies (Istio AZ-15), and for those who answer a call (SN-4). */
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN, parseTrustDomain } from "../identity/trust-domain.ts";
import { narrow } from "../mesh/recording.ts";
import type { AuthorizationPolicyObject, Clause, Rule } from "../policy/model.ts";
import { formatValueMatch, parseStringMatch } from "../policy/pattern.ts";

/** The mesh's trust domain, then its aliases, each once. */
export const trustDomainsOf = narrow(({ settings, meshConfig }): readonly string[] => [
  ...new Set<string>([settings.trustDomain, ...meshConfig.trustDomainAliases]),
]);

/** Whose identities may be peers: the mesh's, by all its names, and those of domains that it federates with. */
export const acceptedTrustDomains = narrow((snapshot): readonly string[] => [
  ...new Set([...trustDomainsOf(snapshot), ...snapshot.federated]),
]);

/** The trust domains that the mesh federates with, or whose roots its configuration names. */
export const foreignTrustDomains = narrow(({ federated }): readonly string[] => federated);

/** The same account by the other names of its trust domain. */
export function aliasesOf(identity: string, trustDomains: readonly string[]): readonly string[] {
  const { trustDomain, namespace, serviceAccount } = parseSpiffeId(identity);
  return trustDomains
    .filter((name) => name !== trustDomain)
    .map((name) => formatSpiffeId({ trustDomain: parseTrustDomain(name), namespace, serviceAccount }));
}

/** TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT: only of a value with five segments the first one is a trust domain. */
const SEGMENTS = 5;

/** Whether a value's first segment means a name of the mesh: it, a part of it with a `*`, or `cluster.local`, which stands for every mesh. */
function meansMesh(written: string, trustDomains: readonly string[]): boolean {
  if (written === DEFAULT_TRUST_DOMAIN) return true;
  return trustDomains.some(
    (name) =>
      name === written ||
      (written.endsWith("*") && name.startsWith(written.slice(0, -1))) ||
      (written.startsWith("*") && name.endsWith(written.slice(1))),
  );
}

/** A principal by every name of the mesh; a suffix form (`*-domain/ns/…`) stays for the names that it covers. */
export function expandPrincipal(text: string, trustDomains: readonly string[]): readonly string[] {
  const [written = "", ...rest] = text.split("/");
  if (rest.length + 1 !== SEGMENTS || written === "*" || !meansMesh(written, trustDomains)) return [text];
  const covers = (name: string): boolean => written.startsWith("*") && name.endsWith(written.slice(1));
  return [...new Set(trustDomains.map((name) => (covers(name) ? text : [name, ...rest].join("/"))))];
}

function expandClause(clause: Clause, trustDomains: readonly string[]): Clause {
  if (clause.attribute !== "principal") return clause;
  const texts = clause.values.map(formatValueMatch);
  const expanded = texts.flatMap((text) => expandPrincipal(text, trustDomains));
  return { ...clause, values: [...new Set(expanded)].map(parseStringMatch) };
}

function expandRule(rule: Rule, trustDomains: readonly string[]): Rule {
  const expand = (clauses: readonly Clause[]): readonly Clause[] => clauses.map((clause) => expandClause(clause, trustDomains));
  return { ...rule, from: rule.from.map(expand), when: expand(rule.when) };
}

interface Expanded {
  readonly names: string;
  readonly policy: AuthorizationPolicyObject;
}

/** A policy is expanded once, however many workloads it holds for. */
const expanded = new WeakMap<AuthorizationPolicyObject, Expanded>();

/** The policy with its principals by every name of the mesh: the one place where aliases enter a decision. */
export function withAliases(policy: AuthorizationPolicyObject, trustDomains: readonly string[]): AuthorizationPolicyObject {
  const { rules } = policy;
  if (rules === "invalid") return policy;
  const names = trustDomains.join();
  const known = expanded.get(policy);
  if (known?.names === names) return known.policy;
  const result = { ...policy, rules: rules.map((rule) => expandRule(rule, trustDomains)) };
  expanded.set(policy, { names, policy: result });
  return result;
}
