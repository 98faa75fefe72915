/** Which ports still take plaintext, who still uses it, and in which order namespaces can go STRICT. */
import type { CompiledMesh } from "../compile/compile.ts";
import { mtlsOf } from "../compile/mtls.ts";
import type { EffectiveMtls } from "../compile/workload-policy.ts";
import type { Place } from "../core/diagnostic.ts";
import { addressesOf, type Workload } from "../mesh/snapshot.ts";

/** Calls without identity that one port served to one address. */
export interface PlaintextCalls {
  /** `NAMESPACE/NAME` of the workload that was called. */
  readonly workload: string;
  readonly port: number;
  readonly sourceIp: string;
  readonly count: number;
  /** Milliseconds since the Unix epoch. */
  readonly last: number;
}

/** What was seen of the mesh at work. */
export interface MtlsEvidence {
  readonly plaintext: readonly PlaintextCalls[];
  /** Workloads that served anybody at all. */
  readonly served: ReadonlySet<string>;
  /** Workloads with a connected proxy. */
  readonly proxies: ReadonlySet<string>;
}

/** A client that STRICT would refuse at one port. */
export interface PlaintextClient {
  readonly workload: string;
  readonly port: number;
  /** `NAMESPACE/NAME` of the one workload at its address, else the address. */
  readonly client: string;
  /** `seen` in the record; `configured`: its DestinationRule makes its proxy come without mutual TLS. */
  readonly how: "seen" | "configured";
  /** Of what was seen. */
  readonly count: number;
  readonly last?: number;
}

export interface PortMtls {
  readonly port: number;
  readonly mode: EffectiveMtls;
  /** The PeerAuthentication that says so; absent where none does, and the mode is PERMISSIVE. */
  readonly by?: { readonly name: string; readonly place: Place };
  /** A policy for some workloads says so: one for the namespace would not change it. */
  readonly narrow: boolean;
}

export interface WorkloadMtls {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  readonly proxy: boolean;
  readonly served: boolean;
  /** In the order of their numbers: those where it listens, and those where plaintext was seen. */
  readonly ports: readonly PortMtls[];
  readonly clients: readonly PlaintextClient[];
}

export interface NamespaceMtls {
  readonly namespace: string;
  /** By name. Gateways are left out: their servers say who may come how. */
  readonly workloads: readonly WorkloadMtls[];
}

type Mesh = Pick<CompiledMesh, "snapshot" | "policies">;

/** Names of workloads by their address; none for an address that several share. */
function workloadsByAddress({ snapshot }: Mesh): ReadonlyMap<string, string> {
  const places = [...snapshot.workloads.values()].flatMap((workload) =>
    addressesOf(workload).map((address) => ({ address, key: workload.key })),
  );
  const groups = Map.groupBy(places, ({ address }) => address);
  return new Map([...groups].flatMap(([address, [only, ...others]]) => (only && others.length === 0 ? [[address, only.key]] : [])));
}

/** Clients whose proxies are told to come to a workload's port in plaintext or by a TLS of their own, by `WORKLOAD:PORT`. */
function configuredClients({ policies }: Mesh, names: ReadonlyMap<string, string>): ReadonlyMap<string, readonly PlaintextClient[]> {
  const found = [...policies.values()].flatMap(({ workload: client, outbound }) =>
    outbound.flatMap(({ services }) =>
      services.flatMap(({ endpoints }) =>
        endpoints.flatMap(({ address, port, mtls }): PlaintextClient[] => {
          const workload = names.get(address);
          return mtls || workload === undefined ? [] : [{ workload, port, client, how: "configured", count: 0 }];
        }),
      ),
    ),
  );
  return Map.groupBy(found, ({ workload, port }) => `${workload}:${port}`);
}

function portOf({ snapshot }: Mesh, workload: Workload, port: number): PortMtls {
  const { mode, from } = mtlsOf(snapshot, workload, port);
  if (from === undefined) return { port, mode, narrow: false };
  const { namespace, name, place } = from.meta;
  return { port, mode, by: { name: `${namespace}/${name}`, place }, narrow: from.selector.size > 0 };
}

function uniqueClients(clients: readonly PlaintextClient[]): readonly PlaintextClient[] {
  return [...new Map(clients.map((client) => [`${client.port} ${client.client} ${client.how}`, client])).values()];
}

/** Every workload that is no gateway, by namespace: its modes, and the clients that come, or are told to come, without identity. */
export function mtlsByNamespace(mesh: Mesh, evidence: MtlsEvidence): readonly NamespaceMtls[] {
  const names = workloadsByAddress(mesh);
  const configured = configuredClients(mesh, names);
  const seen = Map.groupBy(evidence.plaintext, ({ workload }) => workload);
  const describe = (workload: Workload): WorkloadMtls => {
    const calls = seen.get(workload.key) ?? [];
    const listens = mesh.policies.get(workload.key)?.inbound ?? [];
    const numbers = new Set([...listens, ...calls].map(({ port }) => port));
    const ports = [...numbers].sort((left, right) => left - right).map((port) => portOf(mesh, workload, port));
    const told = ports.filter(({ mode }) => mode === "PERMISSIVE").flatMap(({ port }) => configured.get(`${workload.key}:${port}`) ?? []);
    const came = calls.map(
      ({ port, sourceIp, count, last }): PlaintextClient => ({
        workload: workload.key,
        port,
        client: names.get(sourceIp) ?? sourceIp,
        how: "seen",
        count,
        last,
      }),
    );
    const { key } = workload;
    const [proxy, served] = [evidence.proxies.has(key), evidence.served.has(key)];
    return { workload: key, proxy, served, ports, clients: uniqueClients([...came, ...told]) };
  };
  const sidecars = [...mesh.snapshot.workloads.values()].filter(({ key }) => mesh.policies.get(key)?.gateway === undefined);
  const groups = Map.groupBy(sidecars, ({ namespace }) => namespace);
  return [...groups]
    .map(([namespace, workloads]) => ({
      namespace,
      workloads: workloads.map(describe).sort((left, right) => (left.workload < right.workload ? -1 : 1)),
    }))
    .sort((left, right) => (left.namespace < right.namespace ? -1 : 1));
}

// === The way to STRICT ===

/**
 * `strict`: done. `ready`: whoever was seen has an identity. `untried`: nobody was seen, which proves nothing. `blocked`: STRICT would
 * refuse somebody, or some workload has no proxy to keep it.
 */
export type StrictState = "strict" | "ready" | "untried" | "blocked";

export interface StrictStep {
  readonly namespace: string;
  readonly state: StrictState;
  /** The policy of the whole namespace, which is to be changed; absent where one is to be added. */
  readonly policy?: { readonly name: string; readonly place: Place };
  /** What would break today. */
  readonly clients: readonly PlaintextClient[];
  /** Clients of these that no earlier step has mended. */
  readonly mend: readonly string[];
  /** Workloads without a connected proxy. */
  readonly bare: readonly string[];
  /** Ports whose mode is said by a narrower policy, which stays. */
  readonly kept: readonly (PortMtls & { readonly workload: string })[];
}

function stateOf(open: number, blockers: number, served: boolean): StrictState {
  if (open === 0) return "strict";
  if (blockers > 0) return "blocked";
  return served ? "ready" : "untried";
}

function stepOf({ snapshot }: Mesh, { namespace, workloads }: NamespaceMtls): StrictStep {
  const every = workloads.flatMap(({ workload, ports }) => ports.map((port) => ({ workload, ...port })));
  const open = every.filter(({ mode, narrow }) => mode !== "STRICT" && !narrow);
  const closing = new Set(open.map(({ workload, port }) => `${workload}:${port}`));
  const clients = workloads.flatMap((one) => one.clients).filter(({ workload, port }) => closing.has(`${workload}:${port}`));
  const bare = workloads.filter(({ proxy, ports }) => !proxy && ports.length > 0).map(({ workload }) => workload);
  const wide = snapshot.peerAuthentications.find(({ meta, selector }) => meta.namespace === namespace && selector.size === 0);
  return {
    namespace,
    state: stateOf(
      open.length,
      clients.length + bare.length,
      workloads.some(({ served }) => served),
    ),
    ...(wide === undefined ? {} : { policy: { name: `${namespace}/${wide.meta.name}`, place: wide.meta.place } }),
    clients,
    mend: [],
    bare,
    kept: every.filter(({ mode, narrow }) => mode !== "STRICT" && narrow),
  };
}

const RANK: Readonly<Record<StrictState, number>> = { strict: 0, ready: 1, untried: 2, blocked: 3 };

/**
 * The order in which namespaces can go STRICT: those that can do so now, then again and again the one for which the fewest clients and
 * workloads are still to be given a proxy, where what an earlier one needed counts as done. Where what was seen is not the `whole`, nothing is proven
 * ready.
 */
export function planStrict(
  mesh: Mesh,
  namespaces: readonly NamespaceMtls[],
  { whole }: { readonly whole: boolean },
): readonly StrictStep[] {
  const steps = namespaces
    .map((namespace) => stepOf(mesh, namespace))
    .map((step) => (step.state === "ready" && !whole ? { ...step, state: "untried" as const } : step));
  const now = steps.filter(({ state }) => state !== "blocked").sort((left, right) => RANK[left.state] - RANK[right.state]);
  const mended = new Set<string>();
  const later: StrictStep[] = [];
  const toMend = ({ clients, bare }: StrictStep) => new Set([...clients.map(({ client }) => client), ...bare]).difference(mended);
  for (const left = new Set(steps.filter(({ state }) => state === "blocked")); left.size > 0; ) {
    const [next] = [...left].sort((one, other) => toMend(one).size - toMend(other).size);
    if (next === undefined) break;
    const mend = [...toMend(next)].sort();
    later.push({ ...next, mend });
    for (const name of mend) mended.add(name);
    left.delete(next);
  }
  return [...now, ...later];
}
