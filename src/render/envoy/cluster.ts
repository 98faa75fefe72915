/** What inbound and outbound clusters have in common. */
import { create } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { Cluster_DiscoveryType, Cluster_LbPolicy } from "../../gen/envoy/config/cluster/v3/cluster_pb.js";
import { type Address, AddressSchema } from "../../gen/envoy/config/core/v3/address_pb.js";
import { HttpProtocolOptionsSchema } from "../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import type { Endpoint, Protocol } from "../../policy/model.ts";
import { duration, pack } from "./any.ts";

/** An address to bind or to connect to. */
export function toAddress(endpoint: Endpoint): Address {
  if (endpoint.kind === "unix") return create(AddressSchema, { address: { case: "pipe", value: { path: endpoint.path } } });
  const portSpecifier = { case: "portValue", value: endpoint.port } as const;
  return create(AddressSchema, { address: { case: "socketAddress", value: { address: endpoint.host, portSpecifier } } });
}

const HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/** Which HTTP is spoken to the cluster; HTTP/1.1 is also right for TCP, which does not ask. */
function httpOptions(protocol: Protocol): Record<string, Any> {
  const protocolConfig =
    protocol === "http2" ? ({ case: "http2ProtocolOptions", value: {} } as const) : ({ case: "httpProtocolOptions", value: {} } as const);
  const options = pack(HttpProtocolOptionsSchema, { upstreamProtocolOptions: { case: "explicitHttpConfig", value: { protocolConfig } } });
  return { [HTTP_OPTIONS]: options };
}

/** A cluster of one endpoint for each connection: where that was going before it was redirected. */
export function originalDestination(name: string, protocol: Protocol) {
  const clusterDiscoveryType = { case: "type", value: Cluster_DiscoveryType.ORIGINAL_DST } as const;
  return { ...cluster(name, protocol), clusterDiscoveryType, lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED };
}

const UNLIMITED = 0xffff_ffff;

/** Limits are the listeners' and the process's; Envoy's 1,024 connections to a cluster would be a surprise (Istio lifts them too). */
export function cluster(name: string, protocol: Protocol) {
  return {
    name,
    connectTimeout: duration(10),
    typedExtensionProtocolOptions: httpOptions(protocol),
    circuitBreakers: {
      thresholds: [{ maxConnections: UNLIMITED, maxPendingRequests: UNLIMITED, maxRequests: UNLIMITED, maxRetries: UNLIMITED }],
    },
  };
}
