/** Inbound: peers -> the proxy -> the application. One listener and one cluster for each port. */
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { MESH_ALPN } from "../../compile/mesh-alpn.ts";
import type { InboundListener, WorkloadPolicy } from "../../compile/workload-policy.ts";
import { keptWith } from "../../core/kept-with.ts";
import { type Cluster, Cluster_DiscoveryType, ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.js";
import { TrafficDirection } from "../../gen/envoy/config/core/v3/base_pb.js";
import type { FilterChainSchema, FilterSchema } from "../../gen/envoy/config/listener/v3/listener_components_pb.js";
import { type Listener, ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.js";
import { RBACSchema as HttpRbacSchema } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { TlsInspectorSchema } from "../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { RBACSchema as NetworkRbacSchema } from "../../gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js";
import { DENIED_BY_HEADER } from "../../policy/denied-by.ts";
import type { Endpoint } from "../../policy/model.ts";
import { httpLog, ownTlsLogName, refusedInboundLog, serverFirstLogName, tcpLog } from "./access-log.ts";
import { duration, namedConfig } from "./any.ts";
import { authorizationFilterNames, type Scope } from "./authorization.ts";
import { towardsApplication } from "./capture/own-address.ts";
import { cluster, originalDestination, toAddress } from "./cluster.ts";
import { discoveredFilter } from "./config-source.ts";
import { customFilterNames } from "./external-authorization.ts";
import { inboundHttp } from "./http-connection-manager.ts";
import { ALONE } from "./listener.ts";
import { requestAuthenticationFilterNames } from "./request-authentication.ts";
import { virtualHost } from "./routes.ts";
import { inboundTcp } from "./tcp-proxy.ts";
import { serverTls } from "./tls.ts";

type FilterInit = MessageInitShape<typeof FilterSchema>;
type FilterChainInit = MessageInitShape<typeof FilterChainSchema>;

/** What filters are told of their listener: nothing of the mode, so that they stay the same when that changes. */
type Named = Pick<InboundListener, "name" | "port" | "protocol"> & {
  readonly serverFirst?: true | undefined;
  /** Where TCP goes; without, to the listener's own cluster. */
  readonly cluster?: string | undefined;
  /** Bytes are the application's own TLS, which the record says. */
  readonly ownTls?: boolean | undefined;
};

/** Istio's name of the cluster that leads to the application. */
function clusterName(listener: Named): string {
  return `inbound|${listener.port}||`;
}

// === Filters ===

/** The authorization layers of the workload, wherever the listener stands: they are asked before anything is forwarded. */
function authorization(workload: string, scope: Scope) {
  const schema = scope === "tcp" ? NetworkRbacSchema : HttpRbacSchema;
  return authorizationFilterNames(workload, scope).map((name) => ({
    name,
    configType: { case: "configDiscovery", value: discoveredFilter(schema) } as const,
  }));
}

function discovered({ name, schemas }: { readonly name: string; readonly schemas: readonly DescMessage[] }) {
  return { name, configType: { case: "configDiscovery", value: discoveredFilter(...schemas) } as const };
}

/**
 * What a client may not say, whom to ask, and who a token says that the requester is: before authorization, which may ask
 * for that requester (XD-9).
 */
function beforeAuthorization(workload: string) {
  const [sanitize, authn] = requestAuthenticationFilterNames(workload).map(({ name, schema }) => discovered({ name, schemas: [schema] }));
  return [sanitize, ...customFilterNames(workload, "http").map(discovered), authn].filter((filter) => filter !== undefined);
}

/** Everything that is asked of a request before it is forwarded, here and at gateways. */
export function requestFilters(workload: string, scope: Exclude<Scope, "tcp">) {
  return [...beforeAuthorization(workload), ...authorization(workload, scope)];
}

function httpFilters(policy: WorkloadPolicy, listener: Named): readonly FilterInit[] {
  const { name } = listener;
  const { workload, pathNormalization, numTrustedProxies, tellsDenials } = policy;
  const responseHeadersToRemove = tellsDenials === true ? [DENIED_BY_HEADER] : [];
  const routes = { name, virtualHosts: [virtualHost({ name, domains: ["*"], cluster: clusterName(listener) })], responseHeadersToRemove };
  const filters = requestFilters(workload, "http");
  return [inboundHttp({ name, routes, filters, accessLog: httpLog(name), pathNormalization, numTrustedProxies, tellsDenials })];
}

function tcpLogName(name: string, { ownTls, serverFirst }: Pick<Named, "ownTls" | "serverFirst">): string {
  if (ownTls === true) return ownTlsLogName(name);
  return serverFirst === true ? serverFirstLogName(name) : name;
}

function tcpFilters({ workload }: WorkloadPolicy, listener: Named): readonly FilterInit[] {
  const { name, ownTls } = listener;
  // The application's own TLS begins with the client.
  const serverFirst = ownTls === true ? undefined : listener.serverFirst;
  const custom = customFilterNames(workload, "tcp").map(discovered);
  return [
    ...custom,
    ...authorization(workload, "tcp"),
    inboundTcp({
      name,
      cluster: listener.cluster ?? clusterName(listener),
      serverFirst,
      accessLog: tcpLog(tcpLogName(name, { ownTls, serverFirst })),
    }),
  ];
}

// === Filter chains ===

type Both = WorkloadPolicy & Named;

/** The policy, read through, with what its listener is called. */
function withName(policy: WorkloadPolicy, { name, port, protocol, serverFirst, cluster, ownTls }: Named): Both {
  return Object.assign(Object.create(policy) as WorkloadPolicy, { name, port, protocol, serverFirst, cluster, ownTls });
}

/** Kept with the endpoint, which stays the same object while only the mode changes. */
const filtersOf = keptWith((both: Both, _: Endpoint): readonly FilterInit[] =>
  (both.protocol === "tcp" ? tcpFilters : httpFilters)(both, both),
);

/** A client that does not finish its handshake holds nothing for longer. */
export const HANDSHAKE_SECONDS = 15;

/** A chain with what it asks of a connection, besides where that was going. */
type OwnChain = Omit<FilterChainInit, "$typeName" | "filterChainMatch"> & {
  readonly name: string;
  readonly filterChainMatch?: { readonly transportProtocol: string; readonly applicationProtocols?: string[] };
};

/**
 * An open TCP connection keeps the rules that it began with, in Envoy, so that a peer whose certificate is revoked would stay. A filter chain that
 * differs in its metadata is another one: the connections of the old one are drained, and none of other chains. Who is behind a
 * connection is not told there, so all of them end, and whoever may comes back.
 */
function revocationMark({ lastRevocation }: WorkloadPolicy, protocol: InboundListener["protocol"]): Pick<FilterChainInit, "metadata"> {
  if (protocol !== "tcp" || lastRevocation === undefined) return {};
  return { metadata: { filterMetadata: { garrison: { lastRevocation } } } };
}

/**
 * By mode (XD-2). PERMISSIVE takes for mesh traffic what offers a mesh protocol; other TLS is the application's own: on
 * a TCP port it passes as it is, an HTTP port cannot read it. Without a chain that fits, the connection is refused.
 */
function filterChains(policy: WorkloadPolicy, listener: InboundListener, cluster?: string): OwnChain[] {
  const { protocol, mtls } = listener;
  const chain = (ownTls: boolean) => [...filtersOf(withName(policy, { ...listener, cluster, ownTls }), listener.endpoint)];
  const filters = chain(false);
  const transportSocket = serverTls(policy.trustDomains, protocol, policy.tls);
  const mutual = {
    name: "mtls",
    filters,
    transportSocket,
    transportSocketConnectTimeout: duration(HANDSHAKE_SECONDS),
    ...revocationMark(policy, protocol),
  };
  if (mtls === "DISABLE") return [{ name: "plaintext", filters }];
  if (mtls === "STRICT") return [{ ...mutual, filterChainMatch: { transportProtocol: "tls" } }];
  const ownTls = () => ({ name: "own-tls", filters: chain(true), filterChainMatch: { transportProtocol: "tls" } });
  return [
    { ...mutual, filterChainMatch: { transportProtocol: "tls", applicationProtocols: [...MESH_ALPN] } },
    ...(protocol === "tcp" ? [ownTls()] : []),
    { name: "plaintext", filters, filterChainMatch: { transportProtocol: "raw_buffer" } },
  ];
}

/** Of connections that are told by where they were going. */
export interface CapturedPort {
  /** Undefined: every port that no other chain names. */
  readonly destinationPort?: number;
  /** Where TCP goes; without, to the listener's own cluster. */
  readonly cluster?: string;
}

/** The chains of an inbound port in a listener that it shares with others. */
export function inboundChains(
  policy: WorkloadPolicy,
  listener: InboundListener,
  { destinationPort, cluster }: CapturedPort,
): readonly FilterChainInit[] {
  return filterChains(policy, listener, cluster).map((chain) => {
    const match = { ...chain.filterChainMatch, ...(destinationPort === undefined ? {} : { destinationPort }) };
    return { ...chain, name: `${listener.name} ${chain.name}`, filterChainMatch: match };
  });
}

/** The listener of an inbound port. It names its authorization filters and holds nothing of their rules. */
export function inboundListener(policy: WorkloadPolicy, listener: InboundListener): Listener {
  const tlsInspector = namedConfig("envoy.filters.listener.tls_inspector", TlsInspectorSchema, {});
  return create(ListenerSchema, {
    name: listener.name,
    statPrefix: listener.name,
    address: toAddress({ kind: "tcp", host: listener.bind, port: listener.port }),
    ...ALONE,
    trafficDirection: TrafficDirection.INBOUND,
    listenerFilters: listener.mtls === "DISABLE" ? [] : [tlsInspector],
    filterChains: filterChains(policy, listener),
    accessLog: [refusedInboundLog(listener.name)],
  });
}

/** The cluster that leads to the application. */
export function inboundCluster(policy: WorkloadPolicy, listener: InboundListener): Cluster {
  const name = clusterName(listener);
  if (listener.asCalled === true)
    return create(ClusterSchema, { ...originalDestination(name, listener.protocol), ...towardsApplication(policy, policy.address) });
  const endpoint = { address: toAddress(listener.endpoint) };
  return create(ClusterSchema, {
    ...cluster(name, listener.protocol),
    ...(listener.endpoint.kind === "tcp" ? towardsApplication(policy, listener.endpoint.host) : {}),
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
    loadAssignment: { clusterName: name, endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: "endpoint", value: endpoint } }] }] },
  });
}
