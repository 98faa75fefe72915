/** Gateways and VirtualServices -> the listeners of a gateway's workload. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { gatewayKey, type PlacedServer, serversOf } from "../mesh/gateways.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import type { OutsideTls } from "../policy/gateway.ts";
import {
  type ClosedServer,
  caSecret,
  certificateSecret,
  type GatewayListener,
  type OutsideSecurity,
  type ServerPolicy,
} from "./gateway-policy.ts";
import { type Destination, hostRoutes, withMisdirected } from "./gateway-routes.ts";
import { toUpstream } from "./outbound.ts";
import type { GatewayPolicy, UpstreamService } from "./workload-policy.ts";

/** The servers of one address, and what is wrong with them. */
interface Compilation {
  readonly snapshot: MeshSnapshot;
  readonly workload: Workload;
  readonly diagnostics: Diagnostic[];
  readonly closed: ClosedServer[];
  readonly forward: (destination: Destination) => string;
}

function nameOf({ gateway, server }: PlacedServer): string {
  return `${gatewayKey(gateway)}[${gateway.servers.indexOf(server)}]`;
}

function describe(placed: PlacedServer): string {
  return `server \`${placed.server.name || placed.server.port}\` of Gateway \`${gatewayKey(placed.gateway)}\``;
}

// === Certificates ===

/** Which Secret has the CA: the one that is named, or else `NAME-cacert`, or else `NAME` (SN-8). */
function caNameOf({ credentialName, caCredentialName }: OutsideTls, { snapshot, workload }: Compilation): string {
  if (caCredentialName !== undefined) return caCredentialName;
  const apart = `${credentialName}-cacert`;
  return snapshot.secrets.has(`${workload.namespace}/${apart}`) ? apart : credentialName;
}

/** Tells of a Secret without the part that is asked of it. */
function hasPart(
  { snapshot, workload, diagnostics, closed }: Compilation,
  placed: PlacedServer,
  name: string,
  part: "certificate" | "ca",
): boolean {
  const secret = snapshot.secrets.get(`${workload.namespace}/${name}`);
  const there = part === "ca" ? secret?.ca !== undefined : secret?.chain !== undefined && secret.key !== undefined;
  if (there) return true;
  const { bind, port } = placed;
  const names = hostsOf([placed]);
  const serverNames = names.includes("*") ? [] : [...new Set(names)];
  closed.push({ name: nameOf(placed), bind, port, serverNames, secret: `${workload.namespace}/${name}` });
  const keys = part === "ca" ? "`ca.crt`" : "`tls.crt` and `tls.key`";
  diagnostics.push({
    code: "GAR0102",
    message: `${describe(placed)} stays closed: there is no usable Secret \`${workload.namespace}/${name}\` with ${keys}`,
    place: placed.server.place,
    help: `add it to namespace \`${workload.namespace}\`, where the gateway's workload \`${workload.key}\` is`,
  });
  return false;
}

/** Undefined: without its certificates a server stays closed, and no other is touched. */
function outsideSecurity(compilation: Compilation, placed: PlacedServer, tls: OutsideTls): OutsideSecurity | undefined {
  const { namespace } = compilation.workload;
  const { mode, credentialName, clients, minVersion, maxVersion, cipherSuites } = tls;
  const shared = {
    kind: "outside",
    certificate: certificateSecret(namespace, credentialName),
    minVersion,
    maxVersion,
    cipherSuites,
  } as const;
  if (!hasPart(compilation, placed, credentialName, "certificate")) return undefined;
  if (mode === "SIMPLE") return { ...shared, clients: undefined };
  const ca = caNameOf(tls, compilation);
  if (!hasPart(compilation, placed, ca, "ca")) return undefined;
  return { ...shared, clients: { ...clients, optional: mode === "OPTIONAL_MUTUAL", ca: caSecret(namespace, ca) } };
}

// === Servers ===

function hostsOf(servers: readonly PlacedServer[]): readonly string[] {
  return servers.flatMap(({ server }) => server.hosts.map(({ host }) => host));
}

/** Each name is of one server only; the oldest Gateway has it. */
function ownNames(placed: PlacedServer, taken: Set<string>, diagnostics: Diagnostic[]): readonly string[] {
  const hosts = new Set(hostsOf([placed]));
  const names = hosts.has("*") ? ["*"] : [...hosts];
  const free = names.filter((name) => !taken.has(name));
  for (const name of names.filter((each) => taken.has(each))) {
    const message = `${describe(placed)} does not get \`${name}\`, which another server on port ${placed.port} has`;
    diagnostics.push({ code: "GAR0104", message, place: placed.server.place, help: "give each host of a port to one server" });
  }
  for (const name of free) taken.add(name);
  return free;
}

function outsideServers(compilation: Compilation, servers: readonly PlacedServer[]): readonly ServerPolicy[] {
  const { snapshot, workload, diagnostics, forward } = compilation;
  const outside = servers.filter(({ server }) => server.tls?.mode !== "ISTIO_MUTUAL");
  const taken = new Set<string>();
  return outside.flatMap((placed): ServerPolicy[] => {
    const { tls } = placed.server;
    if (tls === undefined || tls.mode === "ISTIO_MUTUAL") return [];
    const security = outsideSecurity(compilation, placed, tls);
    if (security === undefined) return [];
    const names = ownNames(placed, taken, diagnostics);
    if (names.length === 0) return [];
    const others = hostsOf(outside.filter((other) => other !== placed));
    const own = hostRoutes(snapshot, { namespace: workload.namespace, servers: [placed] }, forward);
    const hosts = withMisdirected(own, new Set(hostsOf([placed])), others);
    return [{ name: nameOf(placed), security, serverNames: names.includes("*") ? [] : names, hosts }];
  });
}

/** Servers that only Host tells apart are one. */
function mergedServer(
  { snapshot, workload, forward }: Compilation,
  servers: readonly PlacedServer[],
  kind: "plaintext" | "mesh",
): readonly ServerPolicy[] {
  const [first] = servers;
  if (first === undefined) return [];
  const hosts = hostRoutes(snapshot, { namespace: workload.namespace, servers }, forward);
  return [{ name: nameOf(first), security: { kind }, serverNames: [], hosts }];
}

/** A port is either plaintext or TLS, as its first server says. */
function compileServers(compilation: Compilation, servers: readonly PlacedServer[]): readonly ServerPolicy[] {
  const isPlain = ({ server }: PlacedServer): boolean => server.tls === undefined;
  const [first] = servers;
  if (first === undefined) return [];
  const fitting = servers.filter((placed) => isPlain(placed) === isPlain(first));
  for (const placed of servers.filter((each) => !fitting.includes(each))) {
    const message = `${describe(placed)} stays closed: port ${placed.port} is ${isPlain(first) ? "plaintext" : "TLS"} by ${describe(first)}`;
    compilation.diagnostics.push({ code: "GAR0104", message, place: placed.server.place, help: "give one of them another port" });
  }
  if (isPlain(first)) return mergedServer(compilation, fitting, "plaintext");
  const ofMesh = fitting.filter(({ server }) => server.tls?.mode === "ISTIO_MUTUAL");
  return [...outsideServers(compilation, fitting), ...mergedServer(compilation, ofMesh, "mesh")];
}

// === The whole ===

/** What a gateway's workload serves; no policy for a workload that is no gateway. */
export function compileGateway(
  snapshot: MeshSnapshot,
  workload: Workload,
): { readonly gateway: GatewayPolicy | undefined; readonly diagnostics: readonly Diagnostic[] } {
  const servers = serversOf(snapshot, workload);
  if (servers.length === 0) return { gateway: undefined, diagnostics: [] };
  const services = new Map<string, UpstreamService>();
  const diagnostics: Diagnostic[] = [];
  const forward = (destination: Destination): string => {
    const name = `${destination.service.host}:${destination.port.port}`;
    if (services.has(name)) return name;
    const reached = toUpstream(snapshot, workload, destination);
    services.set(name, reached.upstream);
    diagnostics.push(...reached.diagnostics);
    return name;
  };
  const closed: ClosedServer[] = [];
  const compilation: Compilation = { snapshot, workload, diagnostics, closed, forward };
  const byAddress = Map.groupBy(servers, ({ bind, port }) => `${bind}_${port}`);
  const listeners = [...byAddress].flatMap(([address, placed]): GatewayListener[] => {
    const [first] = placed;
    const compiled = compileServers(compilation, placed);
    if (first === undefined || compiled.length === 0) return [];
    return [{ name: `gateway_${address}`, bind: first.bind, port: first.port, servers: compiled }];
  });
  const waiting = closed.length === 0 ? {} : { closed };
  return { gateway: { listeners, services: [...services.values()], ...waiting }, diagnostics: compilation.diagnostics };
}
