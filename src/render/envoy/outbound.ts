/** Outbound: the application -> the proxy -> peers, each endpoint checked for its own identity (secure naming). */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { OutboundListener, ServiceEndpoint, UpstreamService, WorkloadPolicy } from "../../compile/workload-policy.ts";
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  type Cluster_TransportSocketMatchSchema,
  ClusterSchema,
} from "../../gen/envoy/config/cluster/v3/cluster_pb.js";
import { TrafficDirection } from "../../gen/envoy/config/core/v3/base_pb.js";
import type { LbEndpointSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_components_pb.js";
import { type ClusterLoadAssignment, ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.js";
import type { FilterSchema } from "../../gen/envoy/config/listener/v3/listener_components_pb.js";
import { type Listener, ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.js";
import { RawBufferSchema } from "../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js";
import type { MeshTls } from "../../policy/mesh-config.ts";
import { refusedOutboundHttpLog, refusedOutboundTcpLog } from "./access-log.ts";
import { namedConfig } from "./any.ts";
import { cluster, toAddress } from "./cluster.ts";
import { adsSource } from "./config-source.ts";
import { outboundHttp } from "./http-connection-manager.ts";
import { ALONE } from "./listener.ts";
import { virtualHost } from "./routes.ts";
import { outboundTcp } from "./tcp-proxy.ts";
import { clientTls } from "./tls.ts";

type SocketMatchInit = MessageInitShape<typeof Cluster_TransportSocketMatchSchema>;
type FilterInit = MessageInitShape<typeof FilterSchema>;

/** Istio's name of the cluster of a service's port. */
export function outboundClusterName({ port, host }: UpstreamService): string {
  return `outbound|${port}||${host}`;
}

// === Listeners ===

/** What is sent again: nothing of it has been processed by anybody. */
export const RETRY = { retryOn: "connect-failure,refused-stream,reset-before-request", numRetries: 2 };

/** A service's names as its clients write them; the short one only inside its namespace, so that no two services share one. */
function domainsOf({ service, host }: UpstreamService, namespace: string): readonly string[] {
  const [ownNamespace = "", name = ""] = service.split("/");
  const names = [host, `${name}.${ownNamespace}.svc`, `${name}.${ownNamespace}`];
  return ownNamespace === namespace ? [...names, name] : names;
}

function httpFilter(policy: WorkloadPolicy, { name, services }: OutboundListener): FilterInit {
  const [namespace = ""] = policy.workload.split("/");
  const virtualHosts = services.map((service) =>
    virtualHost({
      name: outboundClusterName(service),
      domains: services.length === 1 ? ["*"] : domainsOf(service, namespace),
      cluster: outboundClusterName(service),
      retry: RETRY,
    }),
  );
  const routes = { name, virtualHosts, ignorePortInHostMatching: true };
  return outboundHttp({ name, routes, filters: [], accessLog: refusedOutboundHttpLog(name) });
}

function tcpFilter(service: UpstreamService, { name }: OutboundListener): FilterInit {
  return outboundTcp({ name, cluster: outboundClusterName(service), accessLog: refusedOutboundTcpLog(name) });
}

/** The listener of the application's own connections. */
export function outboundListener(policy: WorkloadPolicy, listener: OutboundListener): Listener {
  const { name, bind, protocol, services } = listener;
  const filters = protocol === "tcp" ? services.slice(0, 1).map((service) => tcpFilter(service, listener)) : [httpFilter(policy, listener)];
  return create(ListenerSchema, {
    name,
    statPrefix: name,
    address: toAddress(bind),
    ...ALONE,
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [{ filters }],
  });
}

// === Clusters and endpoints ===

/** How an endpoint names its transport socket: its identity, or that it takes plaintext only. */
function socketKey(endpoint: ServiceEndpoint): { readonly identity: string } | { readonly mtls: "DISABLE" } {
  return endpoint.mtls ? { identity: endpoint.identity } : { mtls: "DISABLE" };
}

/** One for each identity that serves the service, so that each endpoint must prove its own and no other's. */
function socketMatches({ endpoints, sni, protocol }: UpstreamService, tls: MeshTls | undefined): SocketMatchInit[] {
  const byIdentity = new Map(endpoints.filter(({ mtls }) => mtls).map((endpoint) => [endpoint.identity, endpoint]));
  const mutual = [...byIdentity.values()].sort(byName).map(({ identity, aliases = [] }) => ({
    name: identity,
    match: { identity },
    transportSocket: clientTls({ identities: [identity, ...aliases], sni, protocol }, tls),
  }));
  const plaintext = {
    name: "plaintext",
    match: { mtls: "DISABLE" },
    transportSocket: namedConfig("envoy.transport_sockets.raw_buffer", RawBufferSchema, {}),
  };
  return endpoints.every(({ mtls }) => mtls) ? mutual : [...mutual, plaintext];
}

function byName(left: ServiceEndpoint, right: ServiceEndpoint): number {
  return left.identity < right.identity ? -1 : 1;
}

/** An identity that no certificate can hold (`#` is in no SPIFFE ID): what has no match of its own is not connected to. */
const NOBODY = "spiffe://nobody#";

/** The cluster of a service's port. Without its own default transport socket Envoy would speak plaintext. */
export function outboundCluster(service: UpstreamService, tls: MeshTls | undefined): Cluster {
  return create(ClusterSchema, {
    ...cluster(outboundClusterName(service), service.protocol),
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS },
    edsClusterConfig: { edsConfig: adsSource() },
    lbPolicy: Cluster_LbPolicy.LEAST_REQUEST,
    transportSocket: clientTls({ identities: [NOBODY], sni: service.sni, protocol: service.protocol }, tls),
    transportSocketMatches: socketMatches(service, tls),
  });
}

function lbEndpoint(endpoint: ServiceEndpoint): MessageInitShape<typeof LbEndpointSchema> {
  const address = toAddress({ kind: "tcp", host: endpoint.address, port: endpoint.port });
  return {
    hostIdentifier: { case: "endpoint", value: { address } },
    metadata: { filterMetadata: { "envoy.transport_socket_match": socketKey(endpoint) } },
  };
}

/** Where the service's port is served. */
export function outboundEndpoints(service: UpstreamService): ClusterLoadAssignment {
  return create(ClusterLoadAssignmentSchema, {
    clusterName: outboundClusterName(service),
    endpoints: [{ lbEndpoints: service.endpoints.map(lbEndpoint) }],
  });
}
