/** What is watched, and where an API server has it. */
import { MESH_CONFIG_NAME } from "../../policy/decode/config-map.ts";

/** What an object is taken for: configuration that people write is decoded strictly, what the cluster says of itself is observed. */
export type Reading = "decoded" | "observed";

interface ObjectName {
  /** Empty for an object of the cluster itself. */
  readonly namespace: string;
  readonly name: string;
}

export interface WatchedKind {
  readonly kind: string;
  /** The plural of its URLs. */
  readonly resource: string;
  /** Empty for the core group. */
  readonly group: string;
  /** The first that the server has is watched. */
  readonly versions: readonly [string, ...string[]];
  readonly reading: Reading;
  /** The only object of the kind that is asked for: the others are nobody's business here. Without a namespace, that of the cluster, or of every namespace. */
  readonly only?: ObjectName;
  /** Only those of a namespace with this label. */
  readonly labelled?: { readonly namespace: string; readonly label: string };
  /** Only those of this `type`, which Secrets have; of every namespace where none is named. */
  readonly typed?: { readonly namespace: string; readonly type: string };
}

const core = (kind: string, resource: string): WatchedKind => ({ kind, resource, group: "", versions: ["v1"], reading: "observed" });

const istio = (area: "networking" | "security", kind: string, resource: string): WatchedKind => ({
  kind,
  resource,
  group: `${area}.istio.io`,
  versions: ["v1", "v1beta1"],
  reading: "decoded",
});

/** Where services are served. The older `v1beta1` went with Kubernetes 1.25. */
const ENDPOINT_SLICES: WatchedKind = { ...core("EndpointSlice", "endpointslices"), group: "discovery.k8s.io" };

const WATCHED_KINDS: readonly WatchedKind[] = [
  core("Namespace", "namespaces"),
  core("ServiceAccount", "serviceaccounts"),
  core("Service", "services"),
  core("Pod", "pods"),
  ENDPOINT_SLICES,
  istio("networking", "WorkloadEntry", "workloadentries"),
  istio("networking", "WorkloadGroup", "workloadgroups"),
  istio("networking", "Sidecar", "sidecars"),
  istio("networking", "ServiceEntry", "serviceentries"),
  istio("networking", "DestinationRule", "destinationrules"),
  istio("networking", "Gateway", "gateways"),
  istio("networking", "VirtualService", "virtualservices"),
  istio("security", "PeerAuthentication", "peerauthentications"),
  istio("security", "RequestAuthentication", "requestauthentications"),
  istio("security", "AuthorizationPolicy", "authorizationpolicies"),
];

/** One Secret, and no other. */
export function secretKind(namespace: string, name: string): WatchedKind {
  return { ...core("Secret", "secrets"), reading: "decoded", only: { namespace, name } };
}

/** What Citadel called the Secrets with a service account's key and certificates. */
export const ACCOUNT_SECRET_TYPE = "istio.io/key-and-cert";

/** The Secrets of that type of one namespace, or where it is empty of all; the server sends no other. */
export function accountSecretKind(namespace: string): WatchedKind {
  return { ...core("Secret", "secrets"), reading: "decoded", typed: { namespace, type: ACCOUNT_SECRET_TYPE } };
}

/** The ConfigMaps with the mesh's roots, one in each namespace (CA-15). */
export const ROOT_CONFIG_MAPS = { ...core("ConfigMap", "configmaps"), only: { namespace: "", name: "istio-ca-root-cert" } } as const;

/** Their key that Istio's agents read. */
export const ROOT_KEY = "root-cert.pem";

export const REPLICA_LABEL = "garrison.dev/replica";

/** The Leases by which the replicas of a control plane know each other. */
export function replicaLeases(namespace: string): WatchedKind {
  return { ...core("Lease", "leases"), group: "coordination.k8s.io", labelled: { namespace, label: REPLICA_LABEL } };
}

/** The webhook configurations of this name. */
export function webhookKinds(name: string): readonly WatchedKind[] {
  const kinds = [
    ["ValidatingWebhookConfiguration", "validatingwebhookconfigurations"],
    ["MutatingWebhookConfiguration", "mutatingwebhookconfigurations"],
  ] as const;
  const only = { namespace: "", name };
  return kinds.map(([kind, resource]) => ({ ...core(kind, resource), group: "admissionregistration.k8s.io", reading: "decoded", only }));
}

/** What counts of another cluster: who runs there and where. Policies and the mesh's configuration are of the own cluster alone. */
export const REMOTE_KINDS: readonly WatchedKind[] = [
  core("Namespace", "namespaces"),
  core("ServiceAccount", "serviceaccounts"),
  core("Service", "services"),
  core("Pod", "pods"),
  ENDPOINT_SLICES,
];

/** `rootNamespace` is where the mesh's configuration is. */
export function watchedKinds(rootNamespace: string): readonly WatchedKind[] {
  const only = { namespace: rootNamespace, name: MESH_CONFIG_NAME };
  return [...WATCHED_KINDS, { ...core("ConfigMap", "configmaps"), reading: "decoded", only }];
}

/** The URL of all objects of a kind that are asked for, with more to ask in its query. */
export function collectionPath({ group, resource, only, labelled, typed }: WatchedKind, version: string, query: string): string {
  const base = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  if (labelled !== undefined) {
    return `${base}/namespaces/${labelled.namespace}/${resource}?labelSelector=${encodeURIComponent(labelled.label)}&${query}`;
  }
  if (typed !== undefined) {
    const within = typed.namespace === "" ? base : `${base}/namespaces/${typed.namespace}`;
    return `${within}/${resource}?fieldSelector=${encodeURIComponent(`type=${typed.type}`)}&${query}`;
  }
  if (only === undefined) return `${base}/${resource}?${query}`;
  const within = only.namespace === "" ? base : `${base}/namespaces/${only.namespace}`;
  return `${within}/${resource}?fieldSelector=${encodeURIComponent(`metadata.name=${only.name}`)}&${query}`;
}

/** The URL of one object. */
export function objectPath({ group, resource }: WatchedKind, version: string, { namespace, name }: ObjectName): string {
  const base = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  return namespace === "" ? `${base}/${resource}/${name}` : `${base}/namespaces/${namespace}/${resource}/${name}`;
}
