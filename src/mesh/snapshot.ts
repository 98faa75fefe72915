/** The mesh at one moment: immutable, indexed for compilation. */
import type { Place } from "../core/diagnostic.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { type MeshConfig, rootsSourcesOf } from "../policy/mesh-config.ts";
import type {
  AuthorizationPolicyObject,
  DestinationRuleObject,
  EndpointSliceObject,
  GatewayObject,
  MeshObject,
  NamespaceObject,
  PeerAuthenticationObject,
  PodObject,
  RequestAuthenticationObject,
  SecretObject,
  ServiceAccountObject,
  ServiceEntryObject,
  ServiceObject,
  SidecarObject,
  VirtualServiceObject,
  WorkloadEntryObject,
  WorkloadGroupObject,
  WorkloadHealth,
} from "../policy/model.ts";
import { effectiveSettings, type MeshSettings, meshConfigOf } from "./mesh-config.ts";
import { ObjectIndex } from "./object-index.ts";

export type { MeshSettings } from "./mesh-config.ts";

/** One place where an application runs, with the identity it must prove. */
export interface Workload {
  readonly kind: "WorkloadEntry" | "Pod";
  /** `NAMESPACE/NAME`; of another cluster's pod `NAMESPACE/NAME@CLUSTER`. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  /** Where it runs, if not in the configuration's own cluster. */
  readonly cluster?: string;
  readonly address: string;
  /** Of the other family of addresses: a pod's in a cluster of both. */
  readonly secondAddress?: string;
  readonly ports: ReadonlyMap<string, number>;
  /** Whether services may lead to it. */
  readonly ready: boolean;
  /** Of a pod that shares the addresses of its node: no proxy of its own can listen there. */
  readonly hostNetwork?: true;
  readonly labels: ReadonlyMap<string, string>;
  readonly serviceAccount: string;
  /** A SPIFFE ID. */
  readonly identity: string;
  /** Declared to be a gateway, so that Gateways of other namespaces may select it too. */
  readonly isGateway: boolean;
  /** How many proxies in front of its own are trusted to name the client in X-Forwarded-For. */
  readonly numTrustedProxies: number;
  /** Whether its proxy tells denied clients the rule. */
  readonly tellsDenials: boolean;
  /** Its machine redirects all its connections to its proxy; absent: they are made to the proxy's listeners. */
  readonly captured?: true;
  /** Of one whose agent says how its application is. */
  readonly health?: WorkloadHealth;
  /** Its agent answers its questions of DNS. */
  readonly dnsCapture?: true;
  /** Services without an address have one for it, by which its captured connections tell them. */
  readonly autoAllocates?: true;
  readonly place: Place;
}

export interface MeshSnapshot {
  /** What holds, of the command line and the mesh's configuration. */
  readonly settings: MeshSettings;
  readonly meshConfig: MeshConfig;
  /** By `Workload.key`. */
  readonly workloads: ReadonlyMap<string, Workload>;
  /** By `NAMESPACE/NAME`. */
  readonly workloadGroups: ReadonlyMap<string, WorkloadGroupObject>;
  readonly services: readonly ServiceObject[];
  /** Where services of a cluster are served. */
  readonly endpointSlices: readonly EndpointSliceObject[];
  /** Oldest first. */
  readonly serviceEntries: readonly ServiceEntryObject[];
  /** Oldest first. */
  readonly destinationRules: readonly DestinationRuleObject[];
  readonly sidecars: readonly SidecarObject[];
  /** Oldest first (PA-2). */
  readonly peerAuthentications: readonly PeerAuthenticationObject[];
  /** Oldest first. */
  readonly requestAuthentications: readonly RequestAuthenticationObject[];
  /** Oldest first (AZ-16). */
  readonly authorizationPolicies: readonly AuthorizationPolicyObject[];
  /** Oldest first. */
  readonly gateways: readonly GatewayObject[];
  /** Oldest first. */
  readonly virtualServices: readonly VirtualServiceObject[];
  /** By `NAMESPACE/NAME`. */
  readonly secrets: ReadonlyMap<string, SecretObject>;
  /** SPIFFE IDs of the service accounts that exist: nothing else gets a certificate. */
  readonly identities: ReadonlySet<string>;
  readonly namespaces: ReadonlySet<string>;
  readonly revoked: RevokedCredentials;
  /** Other trust domains whose bundles are good at the moment: their identities may be peers. */
  readonly federated: readonly string[];
}

/** What the CA has revoked, as far as proxies need to know. */
export interface RevokedCredentials {
  /** SHA-256 of the DER of each certificate, in hex. */
  readonly certificates: readonly string[];
  /** SPIFFE IDs that get no certificate any more. */
  readonly identities: ReadonlySet<string>;
  /** When a certificate was revoked last, in milliseconds; it stays when that one has expired. Undefined where none ever was. */
  readonly last?: number;
}

export const NOTHING_REVOKED: RevokedCredentials = { certificates: [], identities: new Set() };

export const DEFAULT_ROOT_NAMESPACE = "istio-system";
export const DEFAULT_CLUSTER_DOMAIN = "cluster.local";

/** Istio's annotation by which a proxy is made a gateway: its value is `gateway`. */
const TEMPLATES = "inject.istio.io/templates";

/** Istio's annotation that says so of one workload, before its proxy's configuration and the mesh's. */
const INTERCEPTION_MODE = "sidecar.istio.io/interceptionMode";

/** Any other word than `REDIRECT` captures nothing: what is redirected all the same meets no listener, and is refused. */
export function isCaptured({ meta, proxyConfig }: WorkloadEntryObject | PodObject, defaultConfig: MeshConfig["defaultConfig"]): boolean {
  const said = meta.annotations.get(INTERCEPTION_MODE) ?? proxyConfig?.interceptionMode ?? defaultConfig.interceptionMode;
  return said === "REDIRECT";
}

/** Everywhere that it is, the first first. */
export function addressesOf({ address, secondAddress }: Pick<Workload, "address" | "secondAddress">): readonly string[] {
  return secondAddress === undefined ? [address] : [address, secondAddress];
}

/** Pods of one name in two clusters are two workloads. No name of Kubernetes' has an `@`. `cluster`: undefined for the configuration's own. */
export function workloadKey(namespace: string, name: string, cluster: string | undefined): string {
  return cluster === undefined ? `${namespace}/${name}` : `${namespace}/${name}@${cluster}`;
}

/** Addresses are given unless it is said that they are not, as in Istio since 1.25; one that no name leads to is of no use. */
export function namesOf(
  { proxyConfig }: WorkloadEntryObject | PodObject,
  defaultConfig: MeshConfig["defaultConfig"],
): Pick<Workload, "dnsCapture" | "autoAllocates"> {
  if (!(proxyConfig?.dnsCapture ?? defaultConfig.dnsCapture)) return {};
  const allocates = proxyConfig?.dnsAutoAllocate ?? defaultConfig.dnsAutoAllocate ?? true;
  return { dnsCapture: true, ...(allocates ? { autoAllocates: true } : {}) };
}

function toWorkload(
  object: WorkloadEntryObject | PodObject,
  trustDomain: MeshSettings["trustDomain"],
  defaultConfig: MeshConfig["defaultConfig"],
): Workload {
  const { namespace, name, place, annotations } = object.meta;
  const { kind, address, ports, serviceAccount } = object;
  const labels = kind === "Pod" ? object.meta.labels : object.labels;
  const health = kind === "WorkloadEntry" && object.health !== undefined ? { health: object.health } : {};
  const ready = kind === "Pod" ? object.ready : (object.health?.state ?? "healthy") === "healthy";
  const identity = formatSpiffeId({ trustDomain, namespace, serviceAccount });
  const numTrustedProxies = object.proxyConfig?.numTrustedProxies ?? defaultConfig.numTrustedProxies ?? 0;
  const tellsDenials = object.proxyConfig?.tellsDenials ?? defaultConfig.tellsDenials ?? false;
  const isGateway = annotations.get(TEMPLATES)?.split(",").includes("gateway") === true;
  const shared = kind === "Pod" && object.hostNetwork === true ? ({ hostNetwork: true } as const) : {};
  const captured = isCaptured(object, defaultConfig) ? { captured: true as const, ...namesOf(object, defaultConfig) } : {};
  const cluster = kind === "Pod" ? object.cluster : undefined;
  const own = { labels, serviceAccount, identity, isGateway, numTrustedProxies, tellsDenials, ...captured, ...health, place, ...shared };
  const elsewhere = cluster === undefined ? {} : { cluster };
  const second = kind === "Pod" && object.secondAddress !== undefined ? { secondAddress: object.secondAddress } : {};
  return { kind, key: workloadKey(namespace, name, cluster), namespace, name, ...elsewhere, address, ...second, ports, ready, ...own };
}

interface Made {
  readonly trustDomain: string;
  readonly defaultConfig: MeshConfig["defaultConfig"];
  readonly workload: Workload;
}

const made = new WeakMap<WorkloadEntryObject | PodObject, Made>();

/** Of the same object, under settings that say the same, the same workload. */
function workloadOf(object: WorkloadEntryObject | PodObject, settings: MeshSettings, config: MeshConfig): Workload {
  const { trustDomain } = settings;
  const { defaultConfig } = config;
  const known = made.get(object);
  if (known?.trustDomain === trustDomain && known.defaultConfig === defaultConfig) return known.workload;
  const workload = toWorkload(object, settings.trustDomain, defaultConfig);
  made.set(object, { trustDomain, defaultConfig, workload });
  return workload;
}

/** A pod comes after an entry of its name and so takes its place: an entry must not speak for a pod. */
function workloadsOf(objects: ObjectIndex, settings: MeshSettings, config: MeshConfig): readonly Workload[] {
  return [...objects.of("WorkloadEntry"), ...objects.of("Pod")].map((object) => workloadOf(object, settings, config));
}

function identityOf(account: ServiceAccountObject, settings: MeshSettings): string {
  return formatSpiffeId({ trustDomain: settings.trustDomain, namespace: account.meta.namespace, serviceAccount: account.meta.name });
}

/** Kubernetes makes these two; folders need not name them. */
function namespacesOf(objects: readonly NamespaceObject[], settings: MeshSettings): ReadonlySet<string> {
  return new Set(["default", settings.rootNamespace, ...objects.map((object) => object.meta.name)]);
}

/** With the domains whose roots stand in the mesh's configuration; a bundle's roots are there only when it has been fetched. */
function peersOf(federated: readonly string[], { trustDomain }: MeshSettings, config: MeshConfig): readonly string[] {
  const own = new Set<string>([trustDomain, ...config.trustDomainAliases]);
  const written = rootsSourcesOf(config).flatMap(({ from, trustDomains }) => (from.kind === "pem" ? trustDomains : []));
  return written.length === 0 ? federated : [...new Set([...federated, ...written.filter((name) => !own.has(name))])];
}

/** What a snapshot was made of. */
export interface SnapshotParts {
  readonly given: MeshSettings;
  readonly objects: ObjectIndex;
  readonly snapshot: MeshSnapshot;
}

/** A field of the state before where the kinds that it is made of have the same objects. What is of one kind is made of the mesh's configuration besides. */
function keeping(given: MeshSettings, objects: ObjectIndex, before: SnapshotParts | undefined) {
  const same = new Map<MeshObject["kind"], boolean>();
  const isSame = (kind: MeshObject["kind"]): boolean => {
    const known = same.get(kind) ?? (before?.given === given && objects.isSame(before.objects, [kind]));
    same.set(kind, known);
    return known;
  };
  return <Field extends keyof MeshSnapshot>(field: Field, kinds: readonly MeshObject["kind"][], make: () => MeshSnapshot[Field]) =>
    before !== undefined && ["ConfigMap" as const, ...kinds].every(isSame) ? before.snapshot[field] : make();
}

/** Indexes decoded objects. Each object's identity (kind, namespace, name) must be unique already; `given` is of the command line. */
export function buildSnapshot(
  given: MeshSettings,
  all: readonly MeshObject[],
  revoked: RevokedCredentials = NOTHING_REVOKED,
  federated: readonly string[] = [],
): MeshSnapshot {
  return nextSnapshot(given, ObjectIndex.of(all), revoked, federated);
}

/** As `buildSnapshot`, with the very fields of an earlier state of which nothing has changed. */
export function nextSnapshot(
  given: MeshSettings,
  objects: ObjectIndex,
  revoked: RevokedCredentials,
  federated: readonly string[],
  before?: SnapshotParts,
): MeshSnapshot {
  const kept = keeping(given, objects, before);
  const settings = kept("settings", [], () => effectiveSettings(given, objects.of("ConfigMap")));
  const meshConfig = kept("meshConfig", [], () => meshConfigOf(given, objects.of("ConfigMap")));
  const nameOf = ({ meta }: SecretObject | WorkloadGroupObject): string => `${meta.namespace}/${meta.name}`;
  return {
    settings,
    meshConfig,
    workloads: kept(
      "workloads",
      ["WorkloadEntry", "Pod"],
      () => new Map(workloadsOf(objects, settings, meshConfig).map((workload) => [workload.key, workload])),
    ),
    workloadGroups: kept(
      "workloadGroups",
      ["WorkloadGroup"],
      () => new Map(objects.of("WorkloadGroup").map((group) => [nameOf(group), group])),
    ),
    services: kept("services", ["Service"], () => objects.byAge("Service")),
    endpointSlices: kept("endpointSlices", ["EndpointSlice"], () => objects.byAge("EndpointSlice")),
    serviceEntries: kept("serviceEntries", ["ServiceEntry"], () => objects.byAge("ServiceEntry")),
    destinationRules: kept("destinationRules", ["DestinationRule"], () => objects.byAge("DestinationRule")),
    sidecars: kept("sidecars", ["Sidecar"], () => objects.byAge("Sidecar")),
    peerAuthentications: kept("peerAuthentications", ["PeerAuthentication"], () => objects.byAge("PeerAuthentication")),
    requestAuthentications: kept("requestAuthentications", ["RequestAuthentication"], () => objects.byAge("RequestAuthentication")),
    authorizationPolicies: kept("authorizationPolicies", ["AuthorizationPolicy"], () => objects.byAge("AuthorizationPolicy")),
    gateways: kept("gateways", ["Gateway"], () => objects.byAge("Gateway")),
    virtualServices: kept("virtualServices", ["VirtualService"], () => objects.byAge("VirtualService")),
    secrets: kept("secrets", ["Secret"], () => new Map(objects.of("Secret").map((secret) => [nameOf(secret), secret]))),
    identities: kept(
      "identities",
      ["ServiceAccount"],
      () => new Set(objects.of("ServiceAccount").map((account) => identityOf(account, settings))),
    ),
    namespaces: kept("namespaces", ["Namespace"], () => namespacesOf(objects.of("Namespace"), settings)),
    revoked,
    federated: peersOf(federated, settings, meshConfig),
  };
}
