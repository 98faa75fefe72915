/** DestinationRule and automatic mutual TLS -> how a client speaks to each endpoint of a service (SN-1, SN-2, SN-4, SN-7). */
import type { Diagnostic } from "../core/diagnostic.ts";
import { endpointsOf, type MeshService, type RegistryEndpoint } from "../mesh/registry.ts";
import { rootNamespaceOf } from "../mesh/selection.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import type { ClientTls, DestinationRuleObject, ServerName, ServicePort } from "../policy/model.ts";
import { acceptsMtls, effectiveMtls } from "./mtls.ts";
import { acceptedTrustDomains, trustDomainsOf } from "./trust-domains.ts";
import type { ServiceEndpoint, TlsOrigination, UpstreamService } from "./workload-policy.ts";

/** A service's port, and how it is reached. */
export interface Reach {
  readonly service: MeshService;
  readonly port: ServicePort;
  /** The rule that the client follows; undefined where there is none, or nobody in particular is meant. */
  readonly rule: DestinationRuleObject | undefined;
  /** Where the client is; undefined where nobody in particular is meant. */
  readonly namespace: string | undefined;
}

/** What of an upstream service this file decides. */
export type Secured = Pick<UpstreamService, "sni" | "tls" | "endpoints"> & { readonly diagnostics: readonly Diagnostic[] };

/** Istio's label of an endpoint that has a proxy (`istio`), or has none. */
const TLS_MODE = "security.istio.io/tlsMode";

/** A port-level entry replaces the policy's own settings, also with nothing. */
function settingsFor(rule: DestinationRuleObject | undefined, port: number): ClientTls | "invalid" | undefined {
  const policy = rule?.trafficPolicy;
  if (policy === undefined || policy === "invalid") return policy;
  return policy.ports.has(port) ? policy.ports.get(port) : policy.tls;
}

// === The mesh's mutual TLS ===

function spiffeIds(names: readonly ServerName[]): readonly string[] {
  return names.filter(({ kind, value }) => kind === "uri" && value.startsWith("spiffe://")).map(({ value }) => value);
}

/** An identity of the mesh by every name of its trust domain; of another domain, as it is. */
function byEveryName(identity: string, trustDomains: readonly string[]): readonly string[] {
  const [, domain = "", path = ""] = /^spiffe:\/\/([^/]+)(\/.*)$/.exec(identity) ?? [];
  if (!trustDomains.includes(domain)) return [identity];
  return [identity, ...trustDomains.map((name) => `spiffe://${name}${path}`)];
}

/** The identities that may answer at an endpoint: its own, and those that the entry names for the whole service; a rule's names replace them (SN-4). */
function identitiesOf(
  endpoint: RegistryEndpoint,
  service: MeshService,
  replacing: readonly ServerName[],
  snapshot: MeshSnapshot,
): readonly string[] {
  const trustDomains = trustDomainsOf(snapshot);
  const own = endpoint.identity === undefined ? [] : [endpoint.identity];
  const declared = spiffeIds(service.entry?.subjectAltNames ?? []);
  const names = replacing.length > 0 ? spiffeIds(replacing) : [...own, ...declared];
  const valid = names.filter((name) => !snapshot.revoked.identities.has(name));
  return [...new Set(valid.flatMap((name) => byEveryName(name, trustDomains)))];
}

/** Of identities, those whose trust domain has roots here: without these nobody can prove one, and what was proved before ends with them. */
function provable(identities: readonly string[], snapshot: MeshSnapshot): readonly string[] {
  const accepted = acceptedTrustDomains(snapshot);
  return identities.filter((identity) => accepted.some((name) => identity.startsWith(`spiffe://${name}/`)));
}

function placeOf({ address, secondAddress, port }: RegistryEndpoint): Pick<ServiceEndpoint, "address" | "secondAddress" | "port"> {
  return secondAddress === undefined ? { address, port } : { address, secondAddress, port };
}

/** Undefined for an endpoint of which nobody says who runs there: nothing is sent to it. */
function mutual(endpoint: RegistryEndpoint, identities: readonly string[]): ServiceEndpoint | undefined {
  const [identity, ...aliases] = identities;
  if (identity === undefined) return undefined;
  return { ...placeOf(endpoint), mtls: true, identity, ...(aliases.length === 0 ? {} : { aliases }) };
}

function plaintext(endpoint: RegistryEndpoint): ServiceEndpoint {
  const { identity } = endpoint;
  return { ...placeOf(endpoint), mtls: false, ...(identity === undefined ? {} : { identity }) };
}

/**
 * Whether mutual TLS is spoken to an endpoint by itself: the mesh's setting, the endpoint's label, the mode of its workload's port.
 * In a cluster pods may have no proxy, so there only the label says that one has (as in Istio): injection writes it. An address that
 * a slice names and that is no workload has none.
 */
export function takesMutualTls(
  snapshot: MeshSnapshot,
  { service }: Pick<MeshService, "service">,
  { labels, workload, port }: Pick<RegistryEndpoint, "labels" | "workload" | "port">,
): boolean {
  const mayLackProxy = workload === undefined ? service?.bySlices === true : workload.kind === "Pod";
  const label = labels.get(TLS_MODE) ?? (mayLackProxy ? "" : "istio");
  if (label !== "istio") return false;
  if (!snapshot.meshConfig.enableAutoMtls) return false;
  return workload === undefined || acceptsMtls(snapshot, workload, port);
}

function missingIdentity({ service }: Reach, endpoints: readonly RegistryEndpoint[]): Diagnostic {
  const places = endpoints.map(({ address, port }) => `${address}:${port}`).join(", ");
  return {
    code: "GAR0404",
    message: `service \`${service.key}\` has endpoints of which nothing says who runs there, and which are not used: ${places}`,
    place: service.place,
    help: "name their `serviceAccount` or the entry's `subjectAltNames`; plaintext is said by `location: MESH_EXTERNAL` or the label `security.istio.io/tlsMode: disabled`",
  };
}

/** Each endpoint by what it takes (SN-1); `demanded` where a rule says ISTIO_MUTUAL, and none is spoken to otherwise. */
function meshSecured(
  snapshot: MeshSnapshot,
  reach: Reach,
  demanded: Extract<ClientTls, { readonly mode: "ISTIO_MUTUAL" }> | undefined,
): Secured {
  const { service, port } = reach;
  const external = service.entry?.location === "MESH_EXTERNAL";
  const unknown: RegistryEndpoint[] = [];
  const endpoints = endpointsOf(snapshot, service, port).flatMap((endpoint) => {
    if (demanded === undefined && (external || !takesMutualTls(snapshot, service, endpoint))) return [plaintext(endpoint)];
    const identities = identitiesOf(endpoint, service, demanded?.subjectAltNames ?? [], snapshot);
    const secured = mutual(endpoint, provable(identities, snapshot));
    if (identities.length === 0) unknown.push(endpoint);
    return secured === undefined ? [] : [secured];
  });
  const sni = demanded?.sni ?? defaultSni(reach);
  return { sni, endpoints, diagnostics: unknown.length === 0 ? [] : [missingIdentity(reach, unknown)] };
}

/** Istio's server name (SN-3). */
function defaultSni({ service, port }: Reach): string {
  return `outbound_.${port.port}_._.${service.host}`;
}

// === Plaintext and TLS of other kinds, where a rule says so ===

function rulePlace(rule: DestinationRuleObject): string {
  return `DestinationRule \`${rule.meta.namespace}/${rule.meta.name}\``;
}

/** Endpoints that want the mesh's certificates and nothing else. A rule's own certificate (MUTUAL) may be one. */
function refusals(
  snapshot: MeshSnapshot,
  reach: Reach,
  rule: DestinationRuleObject,
  mode: "DISABLE" | "SIMPLE" | "MUTUAL",
): readonly Diagnostic[] {
  if (mode === "MUTUAL") return [];
  const strict = endpointsOf(snapshot, reach.service, reach.port).filter(
    ({ workload, port }) => workload !== undefined && effectiveMtls(snapshot, workload, port) === "STRICT",
  );
  if (strict.length === 0) return [];
  const places = strict.map(({ workload, port }) => `${workload?.key}:${port}`).join(", ");
  return [
    {
      code: "GAR0402",
      message: `${rulePlace(rule)} says mode ${mode} for \`${reach.service.key}\`, whose ports take only mutual TLS of the mesh and refuse the calls: ${places}`,
      place: rule.meta.place,
      help: "say ISTIO_MUTUAL or nothing, or let the port take more by a PeerAuthentication",
    },
  ];
}

/** SN-7. Names are the rule's, then the entry's, then the host: never none, where Istio would check none for TCP. */
function originationOf({ service }: Reach, tls: Extract<ClientTls, { readonly mode: "SIMPLE" | "MUTUAL" }>): TlsOrigination {
  const { subjectAltNames, sni, caCertificates, caCrl, insecureSkipVerify, certificate } = tls;
  const declared = [subjectAltNames, service.entry?.subjectAltNames ?? []].find((names) => names.length > 0);
  const roots = caCertificates === undefined ? {} : { roots: caCertificates };
  const crl = caCrl === undefined ? {} : { crl: caCrl };
  return {
    sni: sni ?? service.host,
    verify: insecureSkipVerify ? "nothing" : { names: declared ?? [{ kind: "dns", value: service.host }], ...roots, ...crl },
    ...(certificate === undefined ? {} : { certificate }),
  };
}

/** A key on the client's machine may be named by its own namespace and by the mesh's, not by whoever owns the server. */
function mayNameKeys(snapshot: MeshSnapshot, { namespace }: Reach, { meta }: DestinationRuleObject): boolean {
  return meta.namespace === namespace || meta.namespace === rootNamespaceOf(snapshot);
}

function foreignKey(reach: Reach, rule: DestinationRuleObject): Diagnostic {
  return {
    code: "GAR0405",
    message: `${rulePlace(rule)} names a private key for clients of namespace \`${reach.namespace}\`, which do not use \`${reach.service.key}\` so`,
    place: rule.meta.place,
    help: `write the rule in namespace \`${reach.namespace}\`, whose key it is`,
  };
}

function unverified(reach: Reach, rule: DestinationRuleObject): Diagnostic {
  return {
    code: "GAR0403",
    message: `${rulePlace(rule)} says \`insecureSkipVerify\`: whoever answers is taken for \`${reach.service.key}\``,
    place: rule.meta.place,
    help: "name the server's roots by `caCertificates` instead",
  };
}

function closed(reach: Reach, diagnostics: readonly Diagnostic[]): Secured {
  return { sni: defaultSni(reach), endpoints: [], diagnostics };
}

/** How the client speaks to a service's port. An invalid rule is closed: its host has no endpoints. */
export function secure(snapshot: MeshSnapshot, reach: Reach): Secured {
  const { rule } = reach;
  const tls = settingsFor(rule, reach.port.port);
  if (tls === "invalid") return closed(reach, []);
  if (rule === undefined || tls === undefined) return meshSecured(snapshot, reach, undefined);
  if (tls.mode === "ISTIO_MUTUAL") return meshSecured(snapshot, reach, tls);
  const diagnostics = refusals(snapshot, reach, rule, tls.mode);
  const endpoints = endpointsOf(snapshot, reach.service, reach.port).map(plaintext);
  if (tls.mode === "DISABLE") return { sni: defaultSni(reach), endpoints, diagnostics };
  if (tls.certificate !== undefined && !mayNameKeys(snapshot, reach, rule)) return closed(reach, [foreignKey(reach, rule)]);
  const warned = tls.insecureSkipVerify ? [...diagnostics, unverified(reach, rule)] : diagnostics;
  return { sni: defaultSni(reach), tls: originationOf(reach, tls), endpoints, diagnostics: warned };
}
