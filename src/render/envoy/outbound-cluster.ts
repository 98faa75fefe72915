/** Outbound clusters: the proxy -> servers, each endpoint checked for its own identity (secure naming). */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { ServiceEndpoint, UpstreamService } from "../../compile/workload-policy.ts";
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_DnsLookupFamily,
  Cluster_LbPolicy,
  type Cluster_TransportSocketMatchSchema,
  ClusterSchema,
} from "../../gen/envoy/config/cluster/v3/cluster_pb.js";
import type { LbEndpointSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_components_pb.js";
import { type ClusterLoadAssignment, ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { RawBufferSchema } from "../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js";
import { namedConfig } from "./any.ts";
import { cluster, toAddress } from "./cluster.ts";
import { adsSource } from "./config-source.ts";
import { type ClientSettings, clientTls, NOBODY } from "./tls.ts";
import { originationTls } from "./tls-origination.ts";

type SocketMatchInit = MessageInitShape<typeof Cluster_TransportSocketMatchSchema>;

/** What listeners say of a service's port: nothing of where it is served, so that they stay as they are when that changes. */
export type NamedService = Pick<UpstreamService, "service" | "host" | "port" | "protocol">;

/** Istio's name of the cluster of a service's port. */
export function outboundClusterName({ port, host }: Pick<NamedService, "port" | "host">): string {
  return `outbound|${port}||${host}`;
}

/** Whether Envoy resolves the endpoints itself, so that they stand in the cluster. */
export function isResolved({ resolution }: UpstreamService): boolean {
  return resolution !== undefined;
}

// === Transport sockets ===

/** How an endpoint names its transport socket: the identities that may answer, or that it takes plaintext only. */
function socketKey(endpoint: ServiceEndpoint): { readonly identity: string } | { readonly mtls: "DISABLE" } {
  return endpoint.mtls ? { identity: identitiesOf(endpoint).join(" ") } : { mtls: "DISABLE" };
}

function identitiesOf({ identity, aliases = [] }: Extract<ServiceEndpoint, { readonly mtls: true }>): readonly string[] {
  return [identity, ...aliases];
}

/** One for each identity that serves the service, so that each endpoint must prove its own and no other's. */
function socketMatches(service: UpstreamService, settings: ClientSettings): SocketMatchInit[] {
  const { endpoints, sni, protocol } = service;
  const byKey = new Map(
    endpoints.flatMap((endpoint) => (endpoint.mtls ? [[identitiesOf(endpoint).join(" "), identitiesOf(endpoint)]] : [])),
  );
  const mutual = [...byKey]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([name, identities]) => ({
      name,
      match: { identity: name },
      transportSocket: clientTls({ identities, sni, protocol }, settings),
    }));
  const plaintext = {
    name: "plaintext",
    match: { mtls: "DISABLE" },
    transportSocket: namedConfig("envoy.transport_sockets.raw_buffer", RawBufferSchema, {}),
  };
  return endpoints.every(({ mtls }) => mtls) ? mutual : [...mutual, plaintext];
}

/** What has no match of its own is not connected to: without a default transport socket Envoy would speak plaintext to it. */
function transport(service: UpstreamService, settings: ClientSettings) {
  const { sni, protocol } = service;
  if (service.tls !== undefined) return { transportSocket: originationTls(service.tls, protocol) };
  const nobody = clientTls({ identities: [NOBODY], sni, protocol }, settings);
  return { transportSocket: nobody, transportSocketMatches: socketMatches(service, settings) };
}

// === Endpoints ===

function lbEndpoint(service: UpstreamService, endpoint: ServiceEndpoint): MessageInitShape<typeof LbEndpointSchema> {
  const { port, secondAddress } = endpoint;
  const at = (host: string) => ({ address: toAddress({ kind: "tcp", host, port }) });
  const place = { ...at(endpoint.address), ...(secondAddress === undefined ? {} : { additionalAddresses: [at(secondAddress)] }) };
  const metadata = { filterMetadata: { "envoy.transport_socket_match": socketKey(endpoint) } };
  return { hostIdentifier: { case: "endpoint", value: place }, ...(service.tls === undefined ? { metadata } : {}) };
}

/** Where the service's port is served. */
export function outboundEndpoints(service: UpstreamService): ClusterLoadAssignment {
  return create(ClusterLoadAssignmentSchema, {
    clusterName: outboundClusterName(service),
    endpoints: [{ lbEndpoints: service.endpoints.map((endpoint) => lbEndpoint(service, endpoint)) }],
  });
}

const DNS_TYPES = { DNS: Cluster_DiscoveryType.STRICT_DNS, DNS_ROUND_ROBIN: Cluster_DiscoveryType.LOGICAL_DNS } as const;

/** By EDS, or by names that Envoy resolves. A cluster by DNS with one address at a time needs its one endpoint. */
function discovery(service: UpstreamService) {
  const { resolution, endpoints } = service;
  if (resolution === undefined) {
    return {
      clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS },
      edsClusterConfig: { edsConfig: adsSource() },
    } as const;
  }
  const type = endpoints.length === 1 ? DNS_TYPES[resolution] : Cluster_DiscoveryType.STRICT_DNS;
  return {
    clusterDiscoveryType: { case: "type", value: type },
    loadAssignment: outboundEndpoints(service),
    // A name that does not resolve holds up neither the other clusters nor the listeners.
    waitForWarmOnInit: false,
    dnsLookupFamily: Cluster_DnsLookupFamily.V4_PREFERRED,
  } as const;
}

/** The cluster of a service's port. */
export function outboundCluster(service: UpstreamService, settings: ClientSettings): Cluster {
  return create(ClusterSchema, {
    ...cluster(outboundClusterName(service), service.protocol),
    ...discovery(service),
    lbPolicy: Cluster_LbPolicy.LEAST_REQUEST,
    ...transport(service, settings),
  });
}
