/** What is watched, and where an API server has it. */

/** What an object is taken for: configuration that people write is decoded strictly, what the cluster says of itself is observed. */
export type Reading = "decoded" | "observed";

export interface WatchedKind {
  readonly kind: string;
  /** The plural of its URLs. */
  readonly resource: string;
  /** Empty for the core group. */
  readonly group: string;
  /** The first that the server has is watched. */
  readonly versions: readonly [string, ...string[]];
  readonly reading: Reading;
}

const core = (kind: string, resource: string): WatchedKind => ({ kind, resource, group: "", versions: ["v1"], reading: "observed" });

const istio = (area: "networking" | "security", kind: string, resource: string): WatchedKind => ({
  kind,
  resource,
  group: `${area}.istio.io`,
  versions: ["v1", "v1beta1"],
  reading: "decoded",
});

export const WATCHED_KINDS: readonly WatchedKind[] = [
  core("Namespace", "namespaces"),
  core("ServiceAccount", "serviceaccounts"),
  core("Service", "services"),
  core("Pod", "pods"),
  istio("networking", "WorkloadEntry", "workloadentries"),
  istio("networking", "Sidecar", "sidecars"),
  istio("networking", "ServiceEntry", "serviceentries"),
  istio("networking", "DestinationRule", "destinationrules"),
  istio("security", "PeerAuthentication", "peerauthentications"),
  istio("security", "RequestAuthentication", "requestauthentications"),
  istio("security", "AuthorizationPolicy", "authorizationpolicies"),
];

/** The URL of all objects of a kind. */
export function collectionPath({ group, resource }: WatchedKind, version: string): string {
  return group === "" ? `/api/${version}/${resource}` : `/apis/${group}/${version}/${resource}`;
}
