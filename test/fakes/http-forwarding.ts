/** The least that makes Envoy forward HTTP from one port of this machine to another. */
import { create, type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Cluster_DiscoveryType, ClusterSchema } from "../../src/gen/envoy/config/cluster/v3/cluster_pb.js";
import { ListenerSchema } from "../../src/gen/envoy/config/listener/v3/listener_pb.js";
import { RouterSchema } from "../../src/gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import type { FakeResource } from "./fake-ads.ts";

function resource<M extends DescMessage>(name: string, schema: M, message: MessageShape<M>): FakeResource {
  return { name, typeUrl: `type.googleapis.com/${schema.typeName}`, body: toBinary(schema, message) };
}

const address = (port: number) => ({
  address: { case: "socketAddress" as const, value: { address: "127.0.0.1", portSpecifier: { case: "portValue" as const, value: port } } },
});

export function httpForwarding(from: number, to: number): readonly FakeResource[] {
  const cluster = create(ClusterSchema, {
    name: "application",
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
    loadAssignment: {
      clusterName: "application",
      endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: "endpoint", value: { address: address(to) } } }] }],
    },
  });
  const route = { case: "route" as const, value: { clusterSpecifier: { case: "cluster" as const, value: "application" } } };
  const manager = create(HttpConnectionManagerSchema, {
    statPrefix: "inbound",
    routeSpecifier: {
      case: "routeConfig",
      value: {
        virtualHosts: [
          { name: "all", domains: ["*"], routes: [{ match: { pathSpecifier: { case: "prefix", value: "/" } }, action: route }] },
        ],
      },
    },
    httpFilters: [{ name: "router", configType: { case: "typedConfig", value: anyPack(RouterSchema, create(RouterSchema)) } }],
  });
  const filter = { name: "http", configType: { case: "typedConfig" as const, value: anyPack(HttpConnectionManagerSchema, manager) } };
  const listener = create(ListenerSchema, { name: "inbound", address: address(from), filterChains: [{ filters: [filter] }] });
  return [resource("application", ClusterSchema, cluster), resource("inbound", ListenerSchema, listener)];
}
