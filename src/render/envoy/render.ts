/** `WorkloadPolicy` -> everything that the workload's Envoy is served. Pure: equal policies give equal bytes. */
import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { UpstreamService, WorkloadPolicy } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.js";
import { type TypedExtensionConfig, TypedExtensionConfigSchema } from "../../gen/envoy/config/core/v3/extension_pb.js";
import { ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "../../gen/envoy/config/route/v3/route_pb.js";
import { typeUrl } from "./any.ts";
import { authorizationFilters, type Scope } from "./authorization.ts";
import { captureClusters } from "./capture/clusters.ts";
import { capturedInbound } from "./capture/inbound.ts";
import { capturedOutbound } from "./capture/outbound.ts";
import { customFilters } from "./external-authorization.ts";
import { gatewayListener, gatewayRoutes } from "./gateway.ts";
import { inboundCluster, inboundListener } from "./inbound.ts";
import { outboundListener } from "./outbound.ts";
import { isResolved, outboundCluster, outboundClusterName, outboundEndpoints } from "./outbound-cluster.ts";
import { requestAuthenticationFilters } from "./request-authentication.ts";

/** One resource, serialized. */
export interface EnvoyResource {
  readonly name: string;
  readonly typeUrl: string;
  /** The message inside the `google.protobuf.Any`. */
  readonly body: Uint8Array;
}

/** By type URL, then by name. */
export type EnvoyResources = ReadonlyMap<string, ReadonlyMap<string, EnvoyResource>>;

function serialize<M extends DescMessage>(
  schema: M,
  messages: readonly MessageShape<M>[],
  nameOf: (message: MessageShape<M>) => string,
): readonly [string, ReadonlyMap<string, EnvoyResource>] {
  const url = typeUrl(schema);
  const resources = messages.map((message) => {
    const name = nameOf(message);
    return [name, { name, typeUrl: url, body: toBinary(schema, message) }] as const;
  });
  const byName = new Map(resources);
  if (byName.size < resources.length) throw new AppError("internal", `two resources of type \`${url}\` have one name`);
  return [url, byName];
}

/** Each service's port once, however many listeners reach it. */
function upstreamServices(policy: WorkloadPolicy): readonly UpstreamService[] {
  const asked = policy.authorizers?.map(({ upstream }) => upstream) ?? [];
  const captured = policy.capture?.services.map(({ upstream }) => upstream) ?? [];
  const services = [
    ...policy.outbound.flatMap((listener) => listener.services),
    ...(policy.gateway?.services ?? []),
    ...captured,
    ...asked,
  ];
  return [...new Map(services.map((service) => [outboundClusterName(service), service])).values()];
}

/** The filters of the transports that an inbound listener speaks. A proxy never asks for others, and would count as behind for ever. */
function filtersOf(policy: WorkloadPolicy): readonly TypedExtensionConfig[] {
  const { workload, inbound, gateway, http, tcp, revoked } = policy;
  const kinds = gateway?.listeners.flatMap(({ servers }) => servers.map(({ security }) => security.kind)) ?? [];
  const scopes: readonly Scope[] = [
    ...inbound.map(({ protocol }) => (protocol === "tcp" ? "tcp" : "http")),
    // Ports that no service declares.
    ...(policy.capture === undefined ? [] : ["tcp" as const]),
    ...kinds.map((kind) => (kind === "mesh" ? "http" : "outside")),
  ];
  return [
    ...(scopes.some((scope) => scope !== "tcp") ? [...requestAuthenticationFilters(policy), ...customFilters(policy, "http")] : []),
    ...(scopes.includes("tcp") ? customFilters(policy, "tcp") : []),
    ...[...new Set(scopes)].sort().flatMap((scope) => authorizationFilters(workload, scope, scope === "tcp" ? tcp : http, revoked)),
  ];
}

/** Clusters, endpoints, listeners, the filters that decide (ECDS) of a workload, and a gateway's routes (RDS). */
export function renderEnvoy(policy: WorkloadPolicy): EnvoyResources {
  const { inbound, outbound, gateway } = policy;
  const services = upstreamServices(policy);
  const listeners = [
    ...(policy.capture === undefined ? inbound.map((listener) => inboundListener(policy, listener)) : capturedInbound(policy)),
    ...capturedOutbound(policy),
    ...outbound.map((listener) => outboundListener(policy, listener)),
    ...(gateway?.listeners ?? []).map((listener) => gatewayListener(policy, listener)),
  ];
  return new Map([
    serialize(
      ClusterSchema,
      [
        ...inbound.map((listener) => inboundCluster(policy, listener)),
        ...captureClusters(policy),
        ...services.map((service) => outboundCluster(service, policy.tls)),
      ],
      ({ name }) => name,
    ),
    serialize(
      ClusterLoadAssignmentSchema,
      services.filter((service) => !isResolved(service)).map(outboundEndpoints),
      ({ clusterName }) => clusterName,
    ),
    serialize(ListenerSchema, listeners, ({ name }) => name),
    serialize(TypedExtensionConfigSchema, filtersOf(policy), ({ name }) => name),
    ...(gateway === undefined ? [] : [serialize(RouteConfigurationSchema, gatewayRoutes(gateway), ({ name }) => name)]),
  ]);
}
