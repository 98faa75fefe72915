/** VirtualServices -> the routes of a gateway's server, by Host. */
import { gatewayKey, type PlacedServer } from "../mesh/gateways.ts";
import { defaultExportTo, isExportedTo, type MeshService, visibleService } from "../mesh/registry.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import type { HttpRoute, RouteMatch } from "../policy/gateway.ts";
import type { ServicePort, VirtualServiceObject } from "../policy/model.ts";
import type { GatewayRoute, HostRoutes } from "./gateway-policy.ts";

// === Hosts ===

/** Whether every name that `host` stands for is one of `pattern`. */
function covers(pattern: string, host: string): boolean {
  return pattern === "*" || pattern === host || (pattern.startsWith("*.") && host.endsWith(pattern.slice(1)));
}

/** The names that both stand for; undefined where there are none. */
function intersection(left: string, right: string): string | undefined {
  if (covers(left, right)) return right;
  return covers(right, left) ? left : undefined;
}

/** The hosts of a server under which a VirtualService is reached. */
export function sharedHosts(
  { gateway, server }: Pick<PlacedServer, "gateway" | "server">,
  service: VirtualServiceObject,
): ReadonlySet<string> {
  if (!service.gateways.includes(gatewayKey(gateway))) return new Set();
  const shared = server.hosts
    .filter(({ namespace }) => namespace === "*" || (namespace === "." ? gateway.meta.namespace : namespace) === service.meta.namespace)
    .flatMap(({ host }) => service.hosts.map((own) => intersection(host, own)));
  return new Set(shared.filter((host) => host !== undefined));
}

// === Destinations ===

export interface Destination {
  readonly service: MeshService;
  readonly port: ServicePort;
}

/** What a route leads to: a short name is of the VirtualService's own namespace. Undefined where there is no such service or port. */
export function destinationOf(snapshot: MeshSnapshot, { destination }: HttpRoute, namespace: string): Destination | undefined {
  const { host, port } = destination;
  const full = host.includes(".") ? host : `${host}.${namespace}.svc.${snapshot.settings.clusterDomain}`;
  const service = visibleService(snapshot, namespace, full);
  const [first, ...others] = service?.ports ?? [];
  const found = port === undefined ? (others.length === 0 ? first : undefined) : service?.ports.find((each) => each.port === port);
  return service === undefined || found === undefined ? undefined : { service, port: found };
}

// === Routes ===

const EVERYTHING: RouteMatch = { path: undefined, method: undefined, authority: undefined, headers: [] };

function matchesOf({ matches }: HttpRoute, { gateway, server }: PlacedServer): readonly RouteMatch[] {
  if (matches.length === 0) return [EVERYTHING];
  return matches
    .filter(
      ({ port, gateways }) => (port ?? server.port) === server.port && (gateways.length === 0 || gateways.includes(gatewayKey(gateway))),
    )
    .map(({ path, method, authority, headers }) => ({ path, method, authority, headers }));
}

function isCatchAll({ match: { path, method, authority, headers } }: GatewayRoute): boolean {
  const everyPath = path === undefined || (path.kind === "prefix" && path.value === "/");
  return everyPath && method === undefined && authority === undefined && headers.length === 0;
}

/** `forward` names the service of a destination in the gateway. */
export type Forward = (destination: Destination) => string;

function routesOf(snapshot: MeshSnapshot, placed: PlacedServer, service: VirtualServiceObject, forward: Forward): readonly GatewayRoute[] {
  return service.http.flatMap((route) => {
    const destination = destinationOf(snapshot, route, service.meta.namespace);
    // Closed: what is said to go where nothing is must not fall to the route after it.
    const action =
      destination === undefined ? ({ kind: "unavailable" } as const) : ({ kind: "forward", service: forward(destination) } as const);
    return matchesOf(route, placed).map((match): GatewayRoute => ({ match, action }));
  });
}

/** A redirect stands alone; of the routes of several VirtualServices those that match everything come last (as in Istio). */
function ordered(routes: readonly GatewayRoute[]): readonly GatewayRoute[] {
  const redirect = routes.find(({ action }) => action.kind === "https");
  if (redirect !== undefined) return [redirect];
  return [...routes.filter((route) => !isCatchAll(route)), ...routes.filter(isCatchAll)];
}

/** The servers of a gateway's workload, which is in `namespace`. */
interface Serving {
  readonly namespace: string;
  readonly servers: readonly PlacedServer[];
}

/** The VirtualServices that gateways in a namespace see. */
function seenIn(snapshot: MeshSnapshot, namespace: string): readonly VirtualServiceObject[] {
  const exportTo = defaultExportTo(snapshot, "virtualServices");
  return snapshot.virtualServices.filter(({ meta }) => isExportedTo(exportTo, meta.namespace, namespace));
}

/** The routes of servers that clients cannot tell apart but by Host. VirtualServices count in the order of their age. */
export function hostRoutes(snapshot: MeshSnapshot, { namespace, servers }: Serving, forward: Forward): readonly HostRoutes[] {
  const byHost = new Map<string, readonly GatewayRoute[]>();
  const add = (host: string, routes: readonly GatewayRoute[]) => byHost.set(host, [...(byHost.get(host) ?? []), ...routes]);
  for (const placed of servers) {
    if (placed.server.httpsRedirect)
      for (const { host } of placed.server.hosts) add(host, [{ match: EVERYTHING, action: { kind: "https" } }]);
    else
      for (const service of seenIn(snapshot, namespace)) {
        const hosts = sharedHosts(placed, service);
        if (hosts.size === 0) continue;
        const routes = routesOf(snapshot, placed, service, forward);
        for (const host of hosts) add(host, routes);
      }
  }
  return [...byHost].map(([host, routes]) => ({ host, routes: ordered(routes) }));
}

function mostSpecific(patterns: Iterable<string>, host: string): number {
  return Math.max(
    -1,
    ...[...patterns].filter((pattern) => covers(pattern, host)).map((pattern) => (pattern === host ? host.length + 1 : pattern.length)),
  );
}

/**
 * 421 (RFC 9110 §15.5.20) for hosts of the other servers of a port. Who may come in is asked in the handshake, by the server's
 * name: a client that names one server there and another in Host would come in by the rules of the first. A host is of the
 * server with the most specific name for it. An honest client, which shares a connection between names, makes another.
 */
export function withMisdirected(own: readonly HostRoutes[], names: ReadonlySet<string>, others: readonly string[]): readonly HostRoutes[] {
  const mine = own.filter(({ host }) => mostSpecific(names, host) >= mostSpecific(others, host));
  const elsewhere = [...new Set(others)].filter((host) => host !== "*" && mostSpecific(names, host) < mostSpecific(others, host));
  const action = { kind: "misdirected" } as const;
  return [...mine, ...elsewhere.map((host) => ({ host, routes: [{ match: EVERYTHING, action }] }))];
}
