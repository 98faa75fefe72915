/**
 * Workloads by their own addresses: a captured call to a pod, as to those of a headless service, is spoken to by mutual
 * TLS with the identity of just that workload. (In Istio it goes out in plaintext.)
 */
import { serversOf } from "../../mesh/gateways.ts";
import { defaultExportTo, endpointsOf, isExportedTo, servedPort } from "../../mesh/registry.ts";
import { addressesOf, type MeshSnapshot, type Workload } from "../../mesh/snapshot.ts";
import { parseIpAddress } from "../../policy/ip-block.ts";
import { takesMutualTls } from "../client-tls.ts";
import { OTHER_PORTS, portsWithOwnMode } from "../mtls.ts";
import { aliasesOf, trustDomainsOf } from "../trust-domains.ts";
import type { CapturedPeers, PeerTransport } from "../workload-policy.ts";
import type { KnownService } from "./scope.ts";

const PLAINTEXT: PeerTransport = { kind: "plaintext" };
const NOBODY: PeerTransport = { kind: "nobody" };

/** One address, and one port or all others. */
interface Place {
  readonly address: string;
  readonly port: number | undefined;
  readonly transport: PeerTransport;
}

function ofIdentity(snapshot: MeshSnapshot, identity: string): PeerTransport {
  if (snapshot.revoked.identities.has(identity)) return NOBODY;
  return { kind: "mtls", identities: [identity, ...aliasesOf(identity, trustDomainsOf(snapshot))] };
}

function transportOf(snapshot: MeshSnapshot, workload: Workload, port: number): PeerTransport {
  const { labels, identity } = workload;
  return takesMutualTls(snapshot, { service: undefined }, { labels, workload, port }) ? ofIdentity(snapshot, identity) : PLAINTEXT;
}

// === Who is at an address ===

function byAddress(workloads: Iterable<Workload>): ReadonlyMap<string, readonly Workload[]> {
  const index = new Map<string, Workload[]>();
  for (const workload of workloads) {
    for (const address of addressesOf(workload)) {
      const own = index.get(address);
      if (own === undefined) index.set(address, [workload]);
      else own.push(workload);
    }
  }
  return index;
}

/** Pods have their addresses of the cluster; an entry is what somebody wrote, and cannot take a pod's. */
function entitled(workloads: readonly Workload[]): readonly Workload[] {
  const pods = workloads.filter(({ kind }) => kind === "Pod");
  return pods.length > 0 ? pods : workloads;
}

// === What is said of it ===

/** Of one workload: how it is spoken to at an address, and the ports that differ. */
function ofOne(snapshot: MeshSnapshot, address: string, workload: Workload): readonly Place[] {
  const usual = { address, port: undefined, transport: transportOf(snapshot, workload, OTHER_PORTS) };
  const own = portsWithOwnMode(snapshot, workload).map((port) => ({ address, port, transport: transportOf(snapshot, workload, port) }));
  return [usual, ...own.filter(({ transport }) => transport.kind !== usual.transport.kind)];
}

/** The workload's ports that known services lead to. */
function portsOf(snapshot: MeshSnapshot, workload: Workload, known: readonly KnownService[]): readonly number[] {
  return known
    .flatMap(({ service, ports }) => ports.map((port) => servedPort(snapshot, service, port, workload)))
    .filter((port) => port !== undefined);
}

/** Several with identities of their own share the address (a machine's): only the ports of their services tell them apart. */
function ofSeveral(
  snapshot: MeshSnapshot,
  address: string,
  workloads: readonly Workload[],
  known: readonly KnownService[],
): readonly Place[] {
  const places = new Map<number, Place>();
  for (const workload of workloads) {
    for (const port of portsOf(snapshot, workload, known)) {
      const transport = transportOf(snapshot, workload, port);
      const other = places.get(port)?.transport ?? transport;
      const same = JSON.stringify(other) === JSON.stringify(transport);
      places.set(port, { address, port, transport: same ? transport : NOBODY });
    }
  }
  return [...places.values()];
}

function ofAddress(
  snapshot: MeshSnapshot,
  address: string,
  workloads: readonly Workload[],
  known: readonly KnownService[],
): readonly Place[] {
  const [first, ...others] = workloads;
  if (first === undefined || parseIpAddress(address) === undefined) return [];
  if (others.every(({ identity }) => identity === first.identity)) return ofOne(snapshot, address, first);
  return ofSeveral(snapshot, address, workloads, known);
}

/** Endpoints that a ServiceEntry names itself, with who runs there. */
function ofEntries(snapshot: MeshSnapshot, known: readonly KnownService[], taken: ReadonlySet<string>): readonly Place[] {
  return known
    .filter(({ service: { entry } }) => entry?.endpoints.kind === "inline" && entry.location === "MESH_INTERNAL")
    .flatMap(({ service, ports }) => ports.flatMap((port) => endpointsOf(snapshot, service, port)))
    .filter(({ address, identity }) => identity !== undefined && !taken.has(address) && parseIpAddress(address) !== undefined)
    .map(({ address, port, identity = "", labels, workload }) => {
      const transport = takesMutualTls(snapshot, { service: undefined }, { labels, workload, port })
        ? ofIdentity(snapshot, identity)
        : PLAINTEXT;
      return { address, port, transport };
    });
}

/** Together what is spoken to in one way: a mesh has more workloads than accounts. Each address and port once. */
function grouped(places: readonly Place[]): readonly CapturedPeers[] {
  const groups = new Map<string, { readonly place: Place; readonly addresses: string[] }>();
  const seen = new Set<string>();
  for (const place of places) {
    const key = JSON.stringify([place.port ?? 0, place.transport]);
    const where = `${place.address} ${place.port}`;
    if (seen.has(where)) continue;
    seen.add(where);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { place, addresses: [place.address] });
    else group.addresses.push(place.address);
  }
  return [...groups]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([, { place, addresses }]) => ({
      ...(place.port === undefined ? {} : { port: place.port }),
      addresses: addresses.sort(),
      transport: place.transport,
    }));
}

/** Who asks. `everything`: the workloads of no service too. */
interface Asking {
  readonly namespace: string;
  readonly everything: boolean;
}

/** An entry's address is what its author says: where services are not seen from other namespaces, what he says of addresses is not either. */
function isSeen(snapshot: MeshSnapshot, { kind, namespace: owner }: Workload, { namespace, everything }: Asking): boolean {
  return everything && (kind === "Pod" || isExportedTo(defaultExportTo(snapshot, "services"), owner, namespace));
}

/** Gateways are outsiders' doors, with servers of their own kinds. */
export function capturedPeers(snapshot: MeshSnapshot, known: readonly KnownService[], asking: Asking): readonly CapturedPeers[] {
  const workloads = [...snapshot.workloads.values()].filter(
    (workload) =>
      serversOf(snapshot, workload).length === 0 && (isSeen(snapshot, workload, asking) || portsOf(snapshot, workload, known).length > 0),
  );
  const index = byAddress(workloads);
  const places = [...index].flatMap(([address, sharing]) => ofAddress(snapshot, address, entitled(sharing), known));
  return grouped([...places, ...ofEntries(snapshot, known, new Set(index.keys()))]);
}
