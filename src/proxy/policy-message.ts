/** The policy as it comes over ADS. */
import { fromBinary } from "@bufbuild/protobuf";
import type { UpstreamService, WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import { ProxyPolicySchema } from "../gen/garrison/v1/proxy_pb.js";
import { DEFAULT_MESH_TLS } from "../policy/mesh-config.ts";

import { type GatewaySecrets, NO_SECRETS, readGatewaySecrets } from "./gateway-secrets.ts";

export const PROXY_POLICY_TYPE = `type.googleapis.com/${ProxyPolicySchema.typeName}`;

const MODES: ReadonlySet<unknown> = new Set(["STRICT", "PERMISSIVE", "DISABLE"]);
const PROTOCOLS: ReadonlySet<unknown> = new Set(["http", "http2", "tcp"]);

function mismatch(what: string): AppError {
  return new AppError("invalid-configuration", `the policy has ${what}`, {
    help: "the control plane and this proxy are of different versions: use the same one for both",
  });
}

/** The lists that are walked for each request, and the one word that tells whether a token may be missing. */
function isKnownRule({ presence, ...rule }: Readonly<Record<string, unknown>>): boolean {
  const lists = ["keys", "audiences", "fromHeaders", "fromParams", "fromCookies", "outputClaimToHeaders", "spaceDelimitedClaims"];
  return (presence === "OPTIONAL" || presence === "REQUIRED") && lists.every((name) => Array.isArray(rule[name]));
}

const RESOLUTIONS: ReadonlySet<unknown> = new Set([undefined, "DNS", "DNS_ROUND_ROBIN"]);

/** What says whether a server is verified, and how its address is found. */
function isKnownService({ tls, resolution, endpoints }: UpstreamService): boolean {
  const verified = tls === undefined || tls.verify === "nothing" || (Array.isArray(tls.verify?.names) && tls.verify.names.length > 0);
  return verified && RESOLUTIONS.has(resolution) && Array.isArray(endpoints) && endpoints.every(({ mtls }) => typeof mtls === "boolean");
}

const SECURITIES: ReadonlySet<unknown> = new Set(["plaintext", "mesh", "outside"]);
const ACTIONS: ReadonlySet<unknown> = new Set(["forward", "https", "misdirected", "unavailable"]);

/** Servers that would take clients by another rule, and routes that would be passed over. */
function checkGateway({ gateway }: WorkloadPolicy): void {
  if (gateway === undefined) return;
  for (const list of [gateway.listeners, gateway.services])
    if (!Array.isArray(list)) throw mismatch("a gateway of another form than this version knows");
  if (!gateway.services.every(isKnownService)) throw mismatch("a gateway's service of another form than this version knows");
  for (const { name, security, hosts } of gateway.listeners.flatMap(({ servers }) => servers)) {
    if (!SECURITIES.has(security.kind)) throw mismatch(`an unknown kind of server \`${name}\``);
    if (!hosts.every(({ routes }) => routes.every(({ action }) => ACTIONS.has(action.kind))))
      throw mismatch(`an unknown route at \`${name}\``);
  }
}

/** Whom to ask and how long to wait; a rule that asks somebody else finds nobody, and denies. */
function isKnownAuthorizer(authorizer: Readonly<Record<string, unknown>>): boolean {
  const { kind, name, timeoutMs, failOpen, upstream } = authorizer;
  const lists = ["includeRequestHeadersInCheck", "includeAdditionalHeadersInCheck", "headersToUpstreamOnAllow"];
  const more = [...lists, "headersToDownstreamOnDeny", "headersToDownstreamOnAllow"];
  const isKind = kind === "grpc" || (kind === "http" && more.every((field) => Array.isArray(authorizer[field])));
  return (
    isKind && typeof name === "string" && typeof timeoutMs === "number" && typeof failOpen === "boolean" && typeof upstream === "object"
  );
}

const VERSIONS: ReadonlySet<unknown> = new Set(["1.2", "1.3"]);
const NORMALIZATIONS: ReadonlySet<unknown> = new Set([undefined, "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]);

/** What holds for the whole proxy. */
function checkSettings({ pathNormalization, numTrustedProxies = 0, tellsDenials, tls = DEFAULT_MESH_TLS }: WorkloadPolicy): void {
  if (!NORMALIZATIONS.has(pathNormalization)) throw mismatch("an unknown normalization of paths");
  if (!Number.isSafeInteger(numTrustedProxies) || numTrustedProxies < 0) throw mismatch("an unusable number of trusted proxies");
  if (tellsDenials !== undefined && tellsDenials !== true) throw mismatch("an unknown word for what denied clients are told");
  if (!VERSIONS.has(tls.minVersion) || !Array.isArray(tls.cipherSuites) || !Array.isArray(tls.ecdhCurves))
    throw mismatch("TLS settings of another form than this version knows");
}

/**
 * Checks what the engine's own compiling does not: the rules are closed unions there, so that what this version does
 * not know is refused and never passed over.
 */
function check(policy: WorkloadPolicy, workload: string): void {
  if (policy.workload !== workload) throw mismatch(`the workload \`${String(policy.workload).slice(0, 200)}\`, which is not this one`);
  for (const list of [policy.trustDomains, policy.inbound, policy.outbound, policy.http?.deny, policy.tcp?.deny])
    if (!Array.isArray(list)) throw mismatch("another form than this version knows");
  const { requestAuthentication: rules = [] } = policy;
  if (!Array.isArray(rules) || !rules.every(isKnownRule)) throw mismatch("a rule for tokens of another form than this version knows");
  const { authorizers = [] } = policy;
  if (!Array.isArray(authorizers) || !authorizers.every(isKnownAuthorizer))
    throw mismatch("an authorizer of another form than this version knows");
  checkSettings(policy);
  for (const { name, mtls, protocol } of policy.inbound) {
    if (!MODES.has(mtls)) throw mismatch(`an unknown mTLS mode at \`${name}\``);
    if (!PROTOCOLS.has(protocol)) throw mismatch(`an unknown protocol at \`${name}\``);
  }
  checkGateway(policy);
  for (const { name, protocol } of policy.outbound) if (!PROTOCOLS.has(protocol)) throw mismatch(`an unknown protocol at \`${name}\``);
  for (const { name, services } of policy.outbound)
    if (!Array.isArray(services) || !services.every(isKnownService))
      throw mismatch(`a service of another form than this version knows at \`${name}\``);
}

export interface PolicyMessage {
  readonly policy: WorkloadPolicy;
  readonly secrets: GatewaySecrets;
}

/** The policy of `workload` from a `garrison.v1.ProxyPolicy`, with its secrets. Throws `invalid-configuration`. */
export function parsePolicyMessage(body: Uint8Array, workload: string): PolicyMessage {
  let [policy, secrets]: [unknown, GatewaySecrets] = [undefined, NO_SECRETS];
  try {
    const message = fromBinary(ProxyPolicySchema, body);
    policy = JSON.parse(Buffer.from(message.json).toString("utf8"));
    secrets = readGatewaySecrets(message.secrets);
  } catch (thrown) {
    throw new AppError("invalid-configuration", "the policy cannot be read", { cause: thrown });
  }
  if (typeof policy !== "object" || policy === null) throw mismatch("another form than this version knows");
  check(policy as WorkloadPolicy, workload);
  return { policy: policy as WorkloadPolicy, secrets };
}
