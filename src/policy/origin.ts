/** The origin of a decision: which rule of which policy. Log line, metric, explanation and Envoy's policy name all print it. */

export interface Origin {
  readonly namespace: string;
  readonly policy: string;
  /** Index in the policy's `rules`. */
  readonly rule: number;
}

/** Of the denial of a revoked certificate: a rule of no object's, so it is in no namespace. */
export const REVOKED: Origin = { namespace: "", policy: "revoked", rule: 0 };

/** Of the refusal of a certificate with names in several trust domains, which is no decision of a rule either. */
export const TWO_NAMES: Origin = { namespace: "", policy: "two-names", rule: 0 };

/** `NAMESPACE/POLICY[RULE]`: what people read, and `by` in test files. `revoked` for what no object says. */
export function formatOrigin(origin: Origin): string {
  if (origin.namespace === "") return origin.policy;
  return `${origin.namespace}/${origin.policy}[${origin.rule}]`;
}

const ORIGIN = /^([^/]*)\/([^[]*)\[(\d+)\]$/;

/** The origin that `formatOrigin` wrote, or undefined for any other text. */
export function parseOrigin(text: string): Origin | undefined {
  const [, namespace, policy, rule] = ORIGIN.exec(text) ?? [];
  if (namespace === undefined || policy === undefined) return undefined;
  return { namespace, policy, rule: Number(rule) };
}

/** `ns[NAMESPACE]-policy[POLICY]-rule[RULE]`: Istio's name of a rule in an Envoy (AZ-2). */
export function formatEnvoyPolicyId(origin: Origin): string {
  return `ns[${origin.namespace}]-policy[${origin.policy}]-rule[${origin.rule}]`;
}

const ENVOY_POLICY_ID = /^ns\[([^\]]*)\]-policy\[([^\]]*)\]-rule\[(\d+)\]$/;

/** The origin that an Envoy policy name stands for, or undefined for any other text. */
export function parseEnvoyPolicyId(text: string): Origin | undefined {
  const match = ENVOY_POLICY_ID.exec(text);
  if (match === null) return undefined;
  const [, namespace = "", policy = "", rule = ""] = match;
  return { namespace, policy, rule: Number(rule) };
}

const CUSTOM_ID = /^istio-ext-authz-([a-z0-9-]+?)-(ns\[.*)$/s;

/** `istio-ext-authz-PROVIDER-` before the name of a CUSTOM rule (AZ-2). */
export function formatEnvoyCustomId(provider: string, origin: Origin): string {
  return `${envoyCustomPrefix(provider)}${formatEnvoyPolicyId(origin).slice(3)}`;
}

/** What the names of all rules begin with that ask one provider, and of no other. */
export function envoyCustomPrefix(provider: string): string {
  return `istio-ext-authz-${provider}-ns[`;
}

/** The provider and the rule of a CUSTOM rule's name; undefined for any other text. */
export function parseEnvoyCustomId(text: string): { readonly provider: string; readonly origin: Origin } | undefined {
  const [, provider = "", rule = ""] = CUSTOM_ID.exec(text) ?? [];
  const origin = parseEnvoyPolicyId(rule);
  return origin === undefined ? undefined : { provider, origin };
}
