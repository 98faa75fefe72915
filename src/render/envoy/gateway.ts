/** Gateways: outsiders and peers -> the proxy -> services by mutual TLS. One listener for each address, a filter chain for each server. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { GatewayListener, GatewayRoute, ServerPolicy } from "../../compile/gateway-policy.ts";
import { MESH_ALPN } from "../../compile/mesh-alpn.ts";
import type { GatewayPolicy, WorkloadPolicy } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import { TrafficDirection } from "../../gen/envoy/config/core/v3/base_pb.js";
import type { FilterChainSchema } from "../../gen/envoy/config/listener/v3/listener_components_pb.js";
import { type Listener, ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.js";
import type { HeaderMatcherSchema, RouteMatchSchema, RouteSchema } from "../../gen/envoy/config/route/v3/route_components_pb.js";
import { type RouteConfiguration, RouteConfigurationSchema } from "../../gen/envoy/config/route/v3/route_pb.js";
import { TlsInspectorSchema } from "../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { DENIED_BY_HEADER } from "../../policy/denied-by.ts";
import type { RouteMatch, TextMatch } from "../../policy/gateway.ts";
import { httpLog, refusedInboundLog } from "./access-log.ts";
import { duration, namedConfig } from "./any.ts";
import { toAddress } from "./cluster.ts";
import { gatewayHttp } from "./http-connection-manager.ts";
import { HANDSHAKE_SECONDS, requestFilters } from "./inbound.ts";
import { ALONE } from "./listener.ts";
import { OUTSIDE_LOG } from "./names.ts";
import { RETRY } from "./outbound.ts";
import { outboundClusterName } from "./outbound-cluster.ts";
import { outsideTls } from "./outside-tls.ts";
import { stringMatcher } from "./string-matcher.ts";
import { serverTls } from "./tls.ts";

type FilterChainInit = MessageInitShape<typeof FilterChainSchema>;
type RouteInit = MessageInitShape<typeof RouteSchema>;
type HeaderInit = MessageInitShape<typeof HeaderMatcherSchema>;

// === Routes ===

function headerMatch(name: string, value: TextMatch): HeaderInit {
  if (value.kind === "present") return { name, headerMatchSpecifier: { case: "presentMatch", value: true } };
  return { name, headerMatchSpecifier: { case: "stringMatch", value: stringMatcher(value) } };
}

function routeMatch({ path, method, authority, headers }: RouteMatch): MessageInitShape<typeof RouteMatchSchema> {
  const pathSpecifier =
    path?.kind === "exact" ? ({ case: "path", value: path.value } as const) : ({ case: "prefix", value: path?.value ?? "/" } as const);
  return {
    pathSpecifier,
    headers: [
      ...(method === undefined ? [] : [headerMatch(":method", method)]),
      ...(authority === undefined ? [] : [headerMatch(":authority", authority)]),
      ...headers.map(({ name, value }) => headerMatch(name, value)),
    ],
  };
}

/** Statuses that the gateway answers itself, with the same words as the embedded proxy. */
const LOCAL = {
  misdirected: { status: 421, body: "this server does not serve that host" },
  unavailable: { status: 503, body: "the route leads to no service" },
} as const;

function routeAction({ action }: GatewayRoute, clusters: ReadonlyMap<string, string>): NonNullable<RouteInit["action"]> {
  switch (action.kind) {
    case "forward": {
      const cluster = clusters.get(action.service);
      if (cluster === undefined) throw new AppError("internal", `a route leads to \`${action.service}\`, which the gateway does not have`);
      const clusterSpecifier = { case: "cluster", value: cluster } as const;
      return { case: "route", value: { clusterSpecifier, timeout: duration(0), retryPolicy: RETRY } };
    }
    case "https":
      return { case: "redirect", value: { schemeRewriteSpecifier: { case: "httpsRedirect", value: true } } };
    case "misdirected":
    case "unavailable": {
      const { status, body } = LOCAL[action.kind];
      return { case: "directResponse", value: { status, body: { specifier: { case: "inlineString", value: body } } } };
    }
  }
}

function routesName(listener: GatewayListener, server: ServerPolicy): string {
  return `${listener.name}/${server.name}`;
}

/** The routes of every server, by the name under which its filter chain asks for them. */
export function gatewayRoutes({ listeners, services }: GatewayPolicy): readonly RouteConfiguration[] {
  const clusters = new Map(services.map((service) => [`${service.host}:${service.port}`, outboundClusterName(service)]));
  return listeners.flatMap((listener) =>
    listener.servers.map((server) =>
      create(RouteConfigurationSchema, {
        name: routesName(listener, server),
        virtualHosts: server.hosts.map(({ host, routes }) => ({
          name: host,
          domains: [host],
          routes: routes.map((route) => ({ match: routeMatch(route.match), action: routeAction(route, clusters) })),
        })),
        ignorePortInHostMatching: true,
        // What a proxy within tells of its rules is not for outsiders, and what an application says of them is not true.
        responseHeadersToRemove: [DENIED_BY_HEADER],
      }),
    ),
  );
}

// === Listeners ===

/** By the server name that the client asks for; a client of the mesh by its protocols where another server takes any name. */
function chainMatch(
  { servers }: GatewayListener,
  { security, serverNames }: ServerPolicy,
): NonNullable<FilterChainInit["filterChainMatch"]> {
  const other = servers.some((server) => server.security.kind === "outside" && server.serverNames.length === 0);
  const applicationProtocols = security.kind === "mesh" && other ? [...MESH_ALPN] : [];
  return { transportProtocol: "tls", serverNames: [...serverNames], applicationProtocols };
}

function filterChain(policy: WorkloadPolicy, listener: GatewayListener, server: ServerPolicy): FilterChainInit {
  const { security } = server;
  const ofMesh = security.kind === "mesh";
  const settings = {
    name: listener.name,
    routes: routesName(listener, server),
    filters: requestFilters(policy.workload, ofMesh ? "http" : "outside"),
    accessLog: httpLog(ofMesh ? listener.name : listener.name + OUTSIDE_LOG),
    pathNormalization: policy.pathNormalization,
    numTrustedProxies: policy.numTrustedProxies,
    tellsDenials: policy.tellsDenials,
  };
  const filters = [gatewayHttp(settings, ofMesh)];
  if (security.kind === "plaintext") return { name: server.name, filters };
  return {
    name: server.name,
    filters,
    filterChainMatch: chainMatch(listener, server),
    transportSocket: security.kind === "mesh" ? serverTls(policy.trustDomains, "http", policy.tls) : outsideTls(security),
    transportSocketConnectTimeout: duration(HANDSHAKE_SECONDS),
  };
}

/** The listener of one address of a gateway. It names its filters, routes and certificates and holds nothing of them. */
export function gatewayListener(policy: WorkloadPolicy, listener: GatewayListener): Listener {
  const isPlain = listener.servers.some(({ security }) => security.kind === "plaintext");
  return create(ListenerSchema, {
    name: listener.name,
    statPrefix: listener.name,
    address: toAddress({ kind: "tcp", host: listener.bind, port: listener.port }),
    ...ALONE,
    perConnectionBufferLimitBytes: 32_768,
    trafficDirection: TrafficDirection.INBOUND,
    listenerFilters: isPlain ? [] : [namedConfig("envoy.filters.listener.tls_inspector", TlsInspectorSchema, {})],
    filterChains: listener.servers.map((server) => filterChain(policy, listener, server)),
    accessLog: [refusedInboundLog(listener.name)],
  });
}
