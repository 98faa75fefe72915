/**
 * `WorkloadPolicy` -> everything that the workload's Envoy is served. Pure: equal policies give equal bytes. Each part is rendered
 * again only when something that was read for it is another object, and is the same object wherever it says the same.
 */
import { create } from "@bufbuild/protobuf";
import type {
  CapturePolicy,
  GatewayPolicy,
  InboundListener,
  OutboundListener,
  UpstreamService,
  WorkloadPolicy,
} from "../../compile/workload-policy.ts";
import { keptWith } from "../../core/kept-with.ts";
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.js";
import { type TypedExtensionConfig, TypedExtensionConfigSchema } from "../../gen/envoy/config/core/v3/extension_pb.js";
import { ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { type Listener, ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.js";
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
import { byName, type EnvoyResource, listed, type ResourceList, type ResourcesByName, serialized } from "./resource.ts";

/** By type URL, then by name. */
export type EnvoyResources = ReadonlyMap<string, ResourcesByName>;

/** What parts are rendered of. What workloads have in common is told apart from what is one's own, so that it is shared. */
interface Source extends WorkloadPolicy {
  readonly namespace: string;
}

function ofListener(listener: Listener): EnvoyResource {
  return serialized(ListenerSchema, listener.name, listener);
}

// === Inbound ===

const inboundOf = keptWith((source: Source, inbound: readonly InboundListener[]) => ({
  clusters: listed(inbound.map((listener) => inboundClusterOf(source, listener))),
  // Where traffic is captured, one listener has all ports.
  listeners: listed(source.capture === undefined ? inbound.map((listener) => inboundListenerOf(source, listener)) : []),
}));

const inboundListenerOf = keptWith((source: Source, listener: InboundListener) => ofListener(inboundListener(source, listener)));

const inboundClusterOf = keptWith((source: Source, listener: InboundListener) => {
  const cluster = inboundCluster(source, listener);
  return serialized(ClusterSchema, cluster.name, cluster);
});

// === Outbound ===

/** Each service's port once, however many listeners reach it. */
function upstreamServices({ outbound, gateway, capture, authorizers = [] }: Source): readonly UpstreamService[] {
  const asked = authorizers.map(({ upstream }) => upstream);
  const captured = capture?.services.map(({ upstream }) => upstream) ?? [];
  const services = [...outbound.flatMap((listener) => listener.services), ...(gateway?.services ?? []), ...captured, ...asked];
  return [...new Map(services.map((service) => [outboundClusterName(service), service])).values()];
}

const outboundOf = keptWith((source: Source, outbound: readonly OutboundListener[]) => {
  const services = upstreamServices(source);
  return {
    clusters: listed(services.map((service) => outboundClusterOf(source, service))),
    endpoints: byName(listed(services.filter((service) => !isResolved(service)).map((service) => endpointsOf(source, service)))),
    listeners: listed(outbound.map((listener) => outboundListenerOf(source, listener))),
  };
});

const outboundListenerOf = keptWith((source: Source, listener: OutboundListener) => ofListener(outboundListener(source, listener)));

const outboundClusterOf = keptWith((source: Source, service: UpstreamService) =>
  serialized(ClusterSchema, outboundClusterName(service), outboundCluster(service, source)),
);

const endpointsOf = keptWith((_: Source, service: UpstreamService) =>
  serialized(ClusterLoadAssignmentSchema, outboundClusterName(service), outboundEndpoints(service)),
);

// === Gateways ===

const gatewayOf = keptWith((source: Source, gateway: GatewayPolicy) => ({
  listeners: gateway.listeners.map((listener) => ofListener(gatewayListener(source, listener))),
  routes: byName(listed(gatewayRoutes(gateway).map((routes) => serialized(RouteConfigurationSchema, routes.name, routes)))),
}));

// === Captured traffic ===

/** Kept with what workloads that see the same share; the inbound listener is each one's own. */
const captureOf = keptWith((source: Source, _: CapturePolicy) => ({
  clusters: captureClusters(source).map((cluster) => serialized(ClusterSchema, cluster.name, cluster)),
  listeners: [...capturedInbound(source), ...capturedOutbound(source)].map(ofListener),
}));

// === Filters ===

/** The filters of the transports that an inbound listener speaks. A proxy never asks for others, and would count as behind for ever. */
function scopesOf({ inbound, capture, gateway }: WorkloadPolicy): readonly Scope[] {
  const kinds = gateway?.listeners.flatMap(({ servers }) => servers.map(({ security }) => security.kind)) ?? [];
  return [
    ...inbound.map(({ protocol }) => (protocol === "tcp" ? "tcp" : "http")),
    // Ports that no service declares.
    ...(capture === undefined ? [] : ["tcp" as const]),
    ...kinds.map((kind) => (kind === "mesh" ? "http" : "outside")),
  ];
}

function ofFilter(filter: TypedExtensionConfig): EnvoyResource {
  return serialized(TypedExtensionConfigSchema, filter.name, filter);
}

/** Filters have the name of their workload, so that no two workloads share any. */
type Owned<Whole> = (whole: Whole, own: object) => ResourceList;

const requestAuthenticationOf: Owned<Source> = keptWith((source) => requestAuthenticationFilters(source).map(ofFilter));

/** Of the layers, only whom CUSTOM rules ask. */
interface Custom {
  readonly workload: string;
  readonly authorizers: WorkloadPolicy["authorizers"];
  readonly http: WorkloadPolicy["http"]["custom"];
  readonly tcp: WorkloadPolicy["tcp"]["custom"];
}

function custom(transport: "http" | "tcp"): Owned<Custom> {
  return keptWith(({ workload, authorizers, http, tcp }) => {
    const asked = authorizers === undefined ? {} : { authorizers };
    const layers = { http: http === undefined ? {} : { custom: http }, tcp: tcp === undefined ? {} : { custom: tcp } };
    return customFilters({ workload, ...asked, ...layers }, transport).map(ofFilter);
  });
}

const customOf = { http: custom("http"), tcp: custom("tcp") } as const;

/** Layers that one workload has in a few scopes. */
const MOST_LAYERS = 16;

const authorizationOf = keptWith(
  ({ name, typedConfig }: TypedExtensionConfig, _: object) =>
    ofFilter(create(TypedExtensionConfigSchema, typedConfig === undefined ? { name } : { name, typedConfig })),
  MOST_LAYERS,
);

function filtersOf(source: Source, own: object): ResourceList {
  const { workload, http, tcp, revoked, authorizers } = source;
  const scopes = scopesOf(source);
  const asking = { workload, authorizers, http: http.custom, tcp: tcp.custom };
  const authorization = (scope: Scope): ResourceList =>
    authorizationFilters(workload, scope, scope === "tcp" ? tcp : http, revoked).map((filter) => authorizationOf(filter, own));
  return [
    ...(scopes.some((scope) => scope !== "tcp") ? [...requestAuthenticationOf(source, own), ...customOf.http(asking, own)] : []),
    ...(scopes.includes("tcp") ? customOf.tcp(asking, own) : []),
    ...[...new Set(scopes)].sort().flatMap(authorization),
  ];
}

// === The whole ===

const CLUSTER = typeUrl(ClusterSchema);
const ENDPOINTS = typeUrl(ClusterLoadAssignmentSchema);
const LISTENER = typeUrl(ListenerSchema);
const FILTER = typeUrl(TypedExtensionConfigSchema);
const ROUTE = typeUrl(RouteConfigurationSchema);

/**
 * Clusters, endpoints, listeners, the filters that decide (ECDS) of a workload, and a gateway's routes (RDS). `own` is one object for
 * one workload, with which results are kept as long as somebody has it.
 */
export function renderEnvoy(policy: WorkloadPolicy, own: object = {}): EnvoyResources {
  const [namespace = ""] = policy.workload.split("/");
  const source: Source = { ...policy, namespace };
  const inbound = inboundOf(source, policy.inbound);
  const outbound = outboundOf(source, policy.outbound);
  const gateway = policy.gateway && gatewayOf(source, policy.gateway);
  const capture = policy.capture && captureOf(source, policy.capture);
  const more = [...(gateway?.listeners ?? []), ...(capture?.listeners ?? [])];
  const others = more.length === 0 ? outbound.listeners : listed([...outbound.listeners, ...more]);
  return new Map([
    [CLUSTER, byName(inbound.clusters, capture === undefined ? outbound.clusters : listed([...outbound.clusters, ...capture.clusters]))],
    [ENDPOINTS, outbound.endpoints],
    [LISTENER, byName(inbound.listeners, others)],
    [FILTER, byName(listed(filtersOf(source, own)))],
    ...(gateway === undefined ? [] : [[ROUTE, gateway.routes] as const]),
  ]);
}
