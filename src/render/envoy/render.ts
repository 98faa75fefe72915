/**
 * `WorkloadPolicy` -> everything that the workload's Envoy is served. Pure: equal policies give equal bytes. Each part is rendered
 * again only when something that was read for it is another object, and is the same object wherever it says the same.
 */
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
import { ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.js";
import { type Listener, ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.js";
import { RouteConfigurationSchema } from "../../gen/envoy/config/route/v3/route_pb.js";
import { ArgumentTable } from "../../mesh/argument-table.ts";
import type { AddressFamily } from "../../mesh/auto-addresses.ts";
import { typeUrl } from "./any.ts";
import { captureClusters } from "./capture/clusters.ts";
import { capturedInbound } from "./capture/inbound.ts";
import { capturedOutbound } from "./capture/outbound.ts";
import { ownFamilies } from "./capture/own-address.ts";
import { FILTER } from "./filter-config.ts";
import { ownFilters } from "./filters.ts";
import { gatewayListener, gatewayRoutes } from "./gateway.ts";
import { inboundCluster, inboundListener } from "./inbound.ts";
import { namedCaptures, namedServices } from "./named-services.ts";
import { outboundListener } from "./outbound.ts";
import { isResolved, outboundCluster, outboundClusterName, outboundEndpoints } from "./outbound-cluster.ts";
import { byName, type EnvoyResource, joined, type ResourcesByName, serialized } from "./resource.ts";
import type { ClientSettings } from "./tls.ts";

/** By type URL, then by name. */
export type EnvoyResources = ReadonlyMap<string, ResourcesByName>;

/** What parts are rendered of. What workloads have in common is told apart from what is one's own, so that it is shared. */
interface Source extends WorkloadPolicy {
  readonly namespace: string;
}

interface Part {
  readonly clusters: ResourcesByName;
  readonly listeners: ResourcesByName;
}

const NONE = byName([]);
function ofListener(listener: Listener): EnvoyResource {
  return serialized(ListenerSchema, listener.name, listener);
}

// === Inbound ===

const inboundOf = keptWith((source: Source, inbound: readonly InboundListener[]): Part => {
  const listeners =
    source.capture === undefined ? inbound.map((one) => inboundListenerOf(source, one)) : capturedInbound(source).map(ofListener);
  const clusters = inbound.map((listener) => inboundClusterOf(source, listener));
  return { clusters: byName([...clusters, ...captureClustersOf(source, inbound)]), listeners: byName(listeners) };
});

const inboundListenerOf = keptWith((source: Source, listener: InboundListener) => ofListener(inboundListener(source, listener)));

const inboundClusterOf = keptWith((source: Source, listener: InboundListener) => {
  const cluster = inboundCluster(source, listener);
  return serialized(ClusterSchema, cluster.name, cluster);
});

const captureClustersOf = keptWith((source: Source, _: object) =>
  captureClusters(source).map((cluster) => serialized(ClusterSchema, cluster.name, cluster)),
);

/** Without the services, which are rendered for all that see the same. */
const ownCapture = keptWith(
  ({ unknown, peers }: CapturePolicy, otherPorts: CapturePolicy["otherPorts"]): CapturePolicy => ({
    unknown,
    services: [],
    peers,
    otherPorts,
  }),
);

// === Outbound, once for all that see the same ===

interface Upstreams {
  readonly clusters: ResourcesByName;
  readonly endpoints: ResourcesByName;
}

/** Each service's port once, however many listeners reach it. */
function upstreamServices({ outbound, gateway, capture, authorizers = [] }: WorkloadPolicy): readonly UpstreamService[] {
  const asked = authorizers.map(({ upstream }) => upstream);
  const captured = capture?.services.map(({ upstream }) => upstream) ?? [];
  const services = [...outbound.flatMap((listener) => listener.services), ...(gateway?.services ?? []), ...captured, ...asked];
  return [...new Map(services.map((service) => [outboundClusterName(service), service])).values()];
}

const upstreams = new ArgumentTable<Upstreams>();
const NO_LISTENERS: readonly OutboundListener[] = [];

function upstreamsOf(policy: WorkloadPolicy): Upstreams {
  const { outbound, gateway, capture, authorizers, tls, foreignTrustDomains } = policy;
  const settings = { tls, foreignTrustDomains } satisfies Record<keyof ClientSettings, unknown>;
  const services = [outbound.length === 0 ? NO_LISTENERS : outbound, gateway?.services, capture?.services, authorizers];
  return upstreams.find([...services, ...Object.values(settings)], () => {
    const all = upstreamServices(policy);
    return {
      clusters: byName(all.map((service) => clusterOf(policy, service))),
      endpoints: byName(all.filter((service) => !isResolved(service)).map((service) => endpointsOf(policy, service))),
    };
  });
}

const clusterOf = keptWith((settings: ClientSettings, service: UpstreamService) =>
  serialized(ClusterSchema, outboundClusterName(service), outboundCluster(service, settings)),
);

const endpointsOf = keptWith((_: object, service: UpstreamService) =>
  serialized(ClusterLoadAssignmentSchema, outboundClusterName(service), outboundEndpoints(service)),
);

const listenerTable = new ArgumentTable<EnvoyResource>();
const listenersTable = new ArgumentTable<ResourcesByName>();

/** Of one that names a thousand services, nothing is rendered again when an endpoint of one of them comes or goes. */
function outboundListenerOf({ name, bind, protocol, services: served }: OutboundListener, namespace: string): EnvoyResource {
  const services = namedServices(served, served);
  return listenerTable.find([services, bind, namespace, name, protocol], () =>
    ofListener(outboundListener({ namespace }, { name, bind, protocol, services })),
  );
}

function outboundListenersOf(outbound: readonly OutboundListener[], namespace: string): ResourcesByName {
  if (outbound.length === 0) return NONE;
  return listenersTable.find([outbound, namespace], () => byName(outbound.map((listener) => outboundListenerOf(listener, namespace))));
}

const capturedTable = new ArgumentTable<ResourcesByName>();

function capturedListenersOf(
  { services: served, peers, unknown }: CapturePolicy,
  namespace: string,
  families: readonly AddressFamily[],
): ResourcesByName {
  const view = { services: namedCaptures(served, served), peers, unknown, namespace, families };
  return capturedTable.find([view.services, peers, unknown, namespace, families.join()], () =>
    byName(capturedOutbound(view).map(ofListener)),
  );
}

// === Gateways ===

const gatewayOf = keptWith((source: Source, gateway: GatewayPolicy) => ({
  listeners: byName(gateway.listeners.map((listener) => ofListener(gatewayListener(source, listener)))),
  routes: byName(gatewayRoutes(gateway).map((routes) => serialized(RouteConfigurationSchema, routes.name, routes))),
}));

// === The whole ===

const CLUSTER = typeUrl(ClusterSchema);
const ENDPOINTS = typeUrl(ClusterLoadAssignmentSchema);
const LISTENER = typeUrl(ListenerSchema);
const ROUTE = typeUrl(RouteConfigurationSchema);

/**
 * Clusters, endpoints, listeners, the filters that decide (ECDS) of a workload, and a gateway's routes (RDS). `own` is one object for
 * one workload, with which results are kept as long as somebody has it.
 */
export function renderEnvoy(policy: WorkloadPolicy, own: object = {}): EnvoyResources {
  const { gateway, capture } = policy;
  const [namespace = ""] = policy.workload.split("/");
  const source: Source = { ...policy, namespace, ...(capture === undefined ? {} : { capture: ownCapture(capture, capture.otherPorts) }) };
  const inbound = inboundOf(source, policy.inbound);
  const upstream = upstreamsOf(policy);
  const served = gateway && gatewayOf(source, gateway);
  const captured = capture === undefined ? NONE : capturedListenersOf(capture, namespace, ownFamilies(policy));
  const listeners = joined(served?.listeners ?? inbound.listeners, joined(outboundListenersOf(policy.outbound, namespace), captured));
  return new Map([
    [CLUSTER, joined(inbound.clusters, upstream.clusters)],
    [ENDPOINTS, upstream.endpoints],
    [LISTENER, listeners],
    [FILTER, ownFilters(source, own)],
    ...(served === undefined ? [] : [[ROUTE, served.routes] as const]),
  ]);
}
