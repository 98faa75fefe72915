/**
 * The objects that users write, decoded: closed unions with every field read. What cannot be decoded is a diagnostic,
 * and for a policy also a closed value (`rules: "invalid"`), never a skipped element.
 */
import type { Place } from "../core/diagnostic.ts";
import type { AttributeKey } from "./attributes.ts";
import type { GatewayServer, HttpRoute, SecretContents } from "./gateway.ts";
import type { HealthProbe } from "./health-probe.ts";
import type { PublicJwk } from "./jwks.ts";
import type { MeshConfig, OutboundTrafficPolicy, ProxyConfig } from "./mesh-config.ts";
import type { ValueMatch } from "./pattern.ts";

/** What every object has. `namespace` is empty only for kind Namespace. */
export interface ObjectMeta {
  readonly name: string;
  readonly namespace: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  /** Milliseconds since the epoch; 0 where nothing says (a file), so that order falls to the names. */
  readonly created: number;
  readonly place: Place;
}

/** `matchLabels` of a selector; no entry selects everything in scope (Istio `type.v1beta1.WorkloadSelector`). */
export type Selector = ReadonlyMap<string, string>;

/** What a policy names in `targetRefs`, instead of a selector: something of its own namespace. Only gateways have any of these here. */
export interface TargetRef {
  readonly kind: "Gateway" | "GatewayClass" | "Service" | "ServiceEntry";
  readonly name: string;
}

export interface NamespaceObject {
  readonly kind: "Namespace";
  readonly meta: ObjectMeta;
}

export interface ServiceAccountObject {
  readonly kind: "ServiceAccount";
  readonly meta: ObjectMeta;
}

/** How a port's bytes are understood: from `appProtocol`, or the prefix of the port's name (Istio's protocol selection). */
export type Protocol = "http" | "http2" | "tcp";

export interface ServicePort {
  readonly name: string;
  /** The port that clients name. */
  readonly port: number;
  /** The workload's port: a number, or the name of an entry of WorkloadEntry `ports`. */
  readonly targetPort: number | string;
  readonly protocol: Protocol;
  /** Neither its name nor anything else says the protocol: it is TCP for that. */
  readonly unsaid?: true;
  /** The protocol begins with the server (MySQL). */
  readonly serverFirst?: true;
  readonly place: Place;
}

export interface ServiceObject {
  readonly kind: "Service";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  readonly ports: readonly ServicePort[];
  /** Virtual addresses (`clusterIPs`), by which captured traffic tells the service; absent for a headless one, and where none are said. */
  readonly addresses?: readonly string[];
  /** Said to have no address (`clusterIP: None`): its name means its workloads. */
  readonly headless?: true;
  /** It is a cluster's: where it is served is what EndpointSlices say, whatever its selector. */
  readonly bySlices?: true;
  /** What other clusters say of the Service of this name, by the cluster's name; absent where there is but one cluster. */
  readonly elsewhere?: ReadonlyMap<string, ServiceElsewhere>;
}

/** A Service of the same name in another cluster: what of it is that cluster's own. */
export interface ServiceElsewhere {
  readonly selector: Selector;
  /** By which clients in that cluster call it. */
  readonly addresses?: readonly string[];
}

/** One address of an EndpointSlice. */
export interface SliceEndpoint {
  /** An IP address. */
  readonly address: string;
  /** Takes calls; with `publishNotReadyAddresses` from its start on. */
  readonly ready: boolean;
  /** Ends, and still answers: better than nobody. */
  readonly draining: boolean;
  /** Name of the pod of the same namespace; undefined where it is said to be none. */
  readonly pod: string | undefined;
  /** Its own name below a headless service's; absent where it has none. */
  readonly hostname?: string;
}

/** Kubernetes `discovery.k8s.io/v1` EndpointSlice: a part of where a Service of its namespace is served, as its cluster says. */
export interface EndpointSliceObject {
  readonly kind: "EndpointSlice";
  readonly meta: ObjectMeta;
  /** The cluster whose it is, where that is not the configuration's own: its pods are meant. */
  readonly cluster?: string;
  /** Name of the Service. */
  readonly service: string;
  readonly endpoints: readonly SliceEndpoint[];
  /** TCP ports by the name of the service's port. */
  readonly ports: ReadonlyMap<string, number>;
}

/** Istio `networking.v1.WorkloadEntry`: one workload that is not a pod. */
export interface WorkloadEntryObject {
  readonly kind: "WorkloadEntry";
  readonly meta: ObjectMeta;
  readonly address: string;
  readonly ports: ReadonlyMap<string, number>;
  /** `spec.labels`, over `metadata.labels`. */
  readonly labels: ReadonlyMap<string, string>;
  readonly serviceAccount: string;
  /** Of the annotation `proxy.istio.io/config`; absent where there is none. */
  readonly proxyConfig?: ProxyConfig;
  /** Of one that its agent registered, or whose health is watched; absent for every other, which counts as healthy. */
  readonly health?: WorkloadHealth;
}

/** What is known of a workload whose agent asks its application. Only `healthy` gets calls. */
export interface WorkloadHealth {
  readonly state: "unknown" | "healthy" | "unhealthy";
  /** Why; empty where there is nothing to say. */
  readonly detail: string;
  /** Name of the WorkloadGroup, in its own namespace; undefined for an entry that somebody wrote. */
  readonly group: string | undefined;
}

/** Istio `networking.v1.WorkloadGroup`: what members that register themselves have in common. */
export interface WorkloadGroupObject {
  readonly kind: "WorkloadGroup";
  readonly meta: ObjectMeta;
  /** Of the members: `template.labels` and `metadata.labels`. */
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  readonly ports: ReadonlyMap<string, number>;
  readonly serviceAccount: string;
  /** Undefined: members are never asked, and count as healthy. */
  readonly probe: HealthProbe | undefined;
}

/** Kubernetes `v1` ConfigMap, of which only one means anything to the mesh. */
export interface ConfigMapObject {
  readonly kind: "ConfigMap";
  readonly meta: ObjectMeta;
  /** Of a ConfigMap `istio` with the key `mesh`; undefined for every other, which is its application's own. */
  readonly mesh: MeshConfig | undefined;
}

/** A Kubernetes pod that runs, or is about to: one workload. Its labels are its metadata's. */
export interface PodObject {
  readonly kind: "Pod";
  readonly meta: ObjectMeta;
  /** The cluster that it runs in, where that is not the configuration's own. */
  readonly cluster?: string;
  readonly address: string;
  /** TCP ports of its containers, by name. */
  readonly ports: ReadonlyMap<string, number>;
  readonly serviceAccount: string;
  /** Whether services may lead to it: its condition `Ready`. */
  readonly ready: boolean;
  /** It has its node's addresses, which are not its own alone. */
  readonly hostNetwork?: true;
  /** Of the annotation `proxy.istio.io/config`; absent where there is none. */
  readonly proxyConfig?: ProxyConfig;
}

export type Endpoint =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** Istio `Sidecar.ingress[]`. */
export interface IngressListener {
  readonly port: { readonly number: number; readonly name: string; readonly protocol: Protocol };
  /** The address to listen on; undefined takes the workload's own. */
  readonly bind: string | undefined;
  /** Where the application listens. */
  readonly defaultEndpoint: Endpoint;
  readonly place: Place;
}

/** Istio `Sidecar.egress[].hosts[]`: `NAMESPACE/HOST`; `.` is the Sidecar's own namespace, `*` any, `~` none. */
export interface EgressHost {
  readonly namespace: string;
  readonly host: string;
}

/** Istio `Sidecar.egress[]`, with a port. */
export interface EgressListener {
  readonly port: { readonly number: number; readonly name: string; readonly protocol: Protocol };
  readonly bind: Endpoint | { readonly kind: "address"; readonly host: string };
  readonly hosts: readonly EgressHost[];
  /** Has no `bind` and is not said to be bound: for a captured workload it says what the port reaches, and is no listener. */
  readonly capturable?: true;
  readonly place: Place;
}

/** Istio `Sidecar.egress[]`, without a port: what captured traffic reaches. */
export interface EgressScope {
  readonly hosts: readonly EgressHost[];
  readonly place: Place;
}

export interface SidecarObject {
  readonly kind: "Sidecar";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  readonly ingress: readonly IngressListener[];
  readonly egress: readonly EgressListener[];
  /** Of captured traffic; absent where there is none. */
  readonly scopes?: readonly EgressScope[];
  /** Of captured traffic; absent leaves it to the mesh. */
  readonly outboundTrafficPolicy?: OutboundTrafficPolicy;
}

/** Istio `ServiceEntry.endpoints[]`: a place that serves the service, without an object of its own. */
export interface EntryEndpoint {
  /** An IP address; with resolution DNS also a DNS name, in lower case. */
  readonly address: string;
  /** By the names of service ports. */
  readonly ports: ReadonlyMap<string, number>;
  readonly labels: ReadonlyMap<string, string>;
  /** Of the entry's namespace; undefined where nothing says who runs there. */
  readonly serviceAccount: string | undefined;
  readonly place: Place;
}

/** A name that a server's certificate may hold. DNS names in lower case. */
export interface ServerName {
  readonly kind: "dns" | "ip" | "uri";
  readonly value: string;
}

/** Istio `networking.v1.ServiceEntry`: services by their host, inside the mesh or outside. */
export interface ServiceEntryObject {
  readonly kind: "ServiceEntry";
  readonly meta: ObjectMeta;
  /** DNS names in lower case, without wildcards. */
  readonly hosts: readonly string[];
  readonly location: "MESH_EXTERNAL" | "MESH_INTERNAL";
  readonly resolution: "STATIC" | "DNS" | "DNS_ROUND_ROBIN";
  readonly ports: readonly ServicePort[];
  /** WorkloadEntries of the namespace, or endpoints of its own; with resolution DNS neither, and the host itself is resolved. */
  readonly endpoints:
    | { readonly kind: "selected"; readonly selector: Selector }
    | { readonly kind: "inline"; readonly list: readonly EntryEndpoint[] };
  readonly subjectAltNames: readonly ServerName[];
  /** IP addresses and CIDR blocks by which captured traffic tells it; absent where none are said. */
  readonly addresses?: readonly string[];
  /** Namespaces that see it: names, `.` its own, `*` all; empty means all. */
  readonly exportTo: readonly string[];
}

/** Files in PEM on the machine of the client's proxy. */
export interface ClientCertificateFiles {
  readonly clientCertificate: string;
  readonly privateKey: string;
}

/** Istio `ClientTLSSettings`: how clients speak to a service. */
export type ClientTls =
  | { readonly mode: "DISABLE" }
  | { readonly mode: "ISTIO_MUTUAL"; readonly subjectAltNames: readonly ServerName[]; readonly sni: string | undefined }
  | {
      readonly mode: "SIMPLE" | "MUTUAL";
      readonly subjectAltNames: readonly ServerName[];
      readonly sni: string | undefined;
      /** A file; undefined takes the roots that the machine trusts. */
      readonly caCertificates: string | undefined;
      readonly caCrl: string | undefined;
      /** Whoever answers is taken for the service. */
      readonly insecureSkipVerify: boolean;
      /** With MUTUAL, and only then. */
      readonly certificate: ClientCertificateFiles | undefined;
    };

/** What a DestinationRule says of TLS. */
export interface TlsPolicy {
  readonly tls: ClientTls | undefined;
  /** By the service's port. An entry replaces `tls`, also with nothing (Istio: port-level settings do not inherit). */
  readonly ports: ReadonlyMap<number, ClientTls | undefined>;
}

/** Istio `networking.v1.DestinationRule`. */
export interface DestinationRuleObject {
  readonly kind: "DestinationRule";
  readonly meta: ObjectMeta;
  /** As written, in lower case: a short name, a DNS name or `*.SUFFIX`. */
  readonly host: string;
  /** Of the clients in its own namespace that it is for; empty means all clients that see it. */
  readonly selector: Selector;
  readonly exportTo: readonly string[];
  /** Undefined where it has no traffic policy; `invalid` is closed: nothing is sent to the host. */
  readonly trafficPolicy: TlsPolicy | "invalid" | undefined;
}

export type MtlsMode = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

/** Istio `security.v1.PeerAuthentication`. */
export interface PeerAuthenticationObject {
  readonly kind: "PeerAuthentication";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  /** `invalid` is closed: STRICT everywhere it would apply. */
  readonly mtls: MtlsMode | "invalid";
  readonly portLevelMtls: ReadonlyMap<number, MtlsMode>;
}

export type PolicyAction = "ALLOW" | "DENY" | "AUDIT" | "CUSTOM";

/** One field of a rule, or one negative field: `values` are joined by OR, then negated (Istio AZ-3). Never empty. */
export interface Clause {
  readonly attribute: AttributeKey;
  /** The part in brackets of a key such as `request.headers[x-a]`; empty for other attributes. */
  readonly argument: string;
  readonly values: readonly ValueMatch[];
  readonly negated: boolean;
}

/** `from` AND `to` AND `when`; each of from and to is OR over elements, each element AND over clauses. Empty means no constraint. */
export interface Rule {
  readonly from: readonly (readonly Clause[])[];
  readonly to: readonly (readonly Clause[])[];
  readonly when: readonly Clause[];
  readonly place?: Place;
}

/** Istio `security.v1.AuthorizationPolicy`. */
export interface AuthorizationPolicyObject {
  readonly kind: "AuthorizationPolicy";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  /** Never empty. With them, the selector says nothing. */
  readonly targetRefs?: readonly TargetRef[];
  readonly action: PolicyAction;
  /** The name of the extension provider that a CUSTOM policy asks; undefined for every other action. */
  readonly provider?: string;
  /** No rules: an ALLOW that matches nothing (AZ-4). `invalid` is closed: ALLOW matches nothing, DENY and CUSTOM deny everything. */
  readonly rules: readonly Rule[] | "invalid";
  /** Tried and recorded, never enforced (`istio.io/dry-run`); of ALLOW and DENY only. */
  readonly dryRun?: true;
}

/** Keys that are fetched: from a JWKS document, or from the one that the issuer's OIDC discovery names. */
export interface RemoteJwks {
  readonly kind: "uri" | "discovery";
  /** The document's address, or the issuer's. */
  readonly url: string;
  readonly timeoutMs: number;
}

export type JwksSource = { readonly kind: "inline"; readonly keys: readonly PublicJwk[] } | RemoteJwks;

/** Where a token may stand. None at all means the default places (JW-3). */
export interface JwtLocations {
  /** Names in lower case; what stands before the token, or nothing. */
  readonly fromHeaders: readonly { readonly name: string; readonly prefix: string }[];
  readonly fromParams: readonly string[];
  readonly fromCookies: readonly string[];
}

/** Istio `security.v1.JWTRule`, but for its keys. */
export interface JwtRuleFields extends JwtLocations {
  /** Empty takes any issuer that the keys vouch for. */
  readonly issuer: string;
  /** One of them is enough; none asks for none. */
  readonly audiences: readonly string[];
  readonly forwardOriginalToken: boolean;
  /** Header names in lower case. */
  readonly outputPayloadToHeader: string | undefined;
  readonly outputClaimToHeaders: readonly { readonly header: string; readonly claim: string }[];
  readonly spaceDelimitedClaims: readonly string[];
  /** REQUIRED: a request without this token is refused, whatever other tokens it has (JW-8). */
  readonly presence: "OPTIONAL" | "REQUIRED";
}

export interface JwtRule extends JwtRuleFields {
  readonly jwks: JwksSource;
}

/** Istio `security.v1.RequestAuthentication`. */
export interface RequestAuthenticationObject {
  readonly kind: "RequestAuthentication";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  /** Never empty. With them, the selector says nothing. */
  readonly targetRefs?: readonly TargetRef[];
  /** `invalid` is closed: every request in its scope is refused. */
  readonly jwtRules: readonly JwtRule[] | "invalid";
}

/** Istio `networking.v1.Gateway`: listeners of the workloads that it selects. */
export interface GatewayObject {
  readonly kind: "Gateway";
  readonly meta: ObjectMeta;
  /** Never empty. */
  readonly selector: Selector;
  readonly servers: readonly GatewayServer[];
}

/** Istio `networking.v1.VirtualService`, attached to gateways: what becomes of requests to its hosts. */
export interface VirtualServiceObject {
  readonly kind: "VirtualService";
  readonly meta: ObjectMeta;
  /** In lower case: `*`, `*.DOMAIN` or a name. */
  readonly hosts: readonly string[];
  /** `NAMESPACE/NAME`. */
  readonly gateways: readonly string[];
  readonly http: readonly HttpRoute[];
}

/** Kubernetes Secret with certificates for outsiders. */
export interface SecretObject extends SecretContents {
  readonly kind: "Secret";
  readonly meta: ObjectMeta;
}

export type MeshObject =
  | NamespaceObject
  | ServiceAccountObject
  | ServiceObject
  | EndpointSliceObject
  | ConfigMapObject
  | WorkloadEntryObject
  | WorkloadGroupObject
  | PodObject
  | SidecarObject
  | ServiceEntryObject
  | DestinationRuleObject
  | PeerAuthenticationObject
  | RequestAuthenticationObject
  | AuthorizationPolicyObject
  | GatewayObject
  | VirtualServiceObject
  | SecretObject;

export type ObjectKind = MeshObject["kind"];

/** The kinds that people write; the others are only ever observed. */
export type WrittenKind = Exclude<ObjectKind, "Pod" | "EndpointSlice">;

/** `Kind NAMESPACE/NAME`, unique in a snapshot. */
export function objectKey(object: { readonly kind: ObjectKind; readonly meta: Pick<ObjectMeta, "namespace" | "name"> }): string {
  const { namespace, name } = object.meta;
  return `${object.kind} ${namespace === "" ? name : `${namespace}/${name}`}`;
}
