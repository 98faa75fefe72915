/** The names that a workload's agent answers for, and their addresses: of just the services that its captured traffic knows. */
import { autoAddressesOf, type Families, familiesOf, familyOf } from "../mesh/auto-addresses.ts";
import { endpointHostnames } from "../mesh/endpoint-slices.ts";
import { derived } from "../mesh/recording.ts";
import { endpointsOf, type MeshService } from "../mesh/registry.ts";
import { sidecarOf } from "../mesh/selection.ts";
import { addressesIn } from "../mesh/services.ts";
import { addressesOf, type MeshSnapshot, type Workload } from "../mesh/snapshot.ts";
import { parseIpAddress } from "../policy/ip-block.ts";
import type { SidecarObject } from "../policy/model.ts";
import { knownServices } from "./capture/scope.ts";

/** Addresses, sorted, by host in lower case without a dot at the end. */
export type Names = Readonly<Record<string, readonly string[]>>;

/** What of the mesh a workload's agent knows. One object for all that see the same. */
export interface NameTable {
  /** The end of the names of services: `NAME.NAMESPACE.svc.DOMAIN`. */
  readonly domain: string;
  /** Nobody else has names below the domain: what is not here is not there. A cluster's own DNS has more, of pods and of what is no TCP. */
  readonly closed: boolean;
  readonly names: Names;
}

/** Of one name; more would not fit into an answer over TCP. */
const MAX_ADDRESSES = 1_000;
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

function isOf(families: Families, address: string): boolean {
  return parseIpAddress(address) !== undefined && (families === "dual" || familyOf(address) === families);
}

function limited(addresses: Iterable<string>): readonly string[] {
  return [...new Set(addresses)].sort().slice(0, MAX_ADDRESSES);
}

/** Of a service without an address of its own: all that serve it, and each by its own name (Kubernetes' and Istio's form). */
function ofWorkloads(snapshot: MeshSnapshot, service: MeshService, families: Families): readonly (readonly [string, readonly string[]])[] {
  if (service.service === undefined) return [];
  const hostnames = endpointHostnames(snapshot, service.service);
  const own = new Map<string, string[]>();
  const all: string[] = [];
  for (const endpoint of service.ports.flatMap((port) => endpointsOf(snapshot, service, port))) {
    for (const address of addressesOf(endpoint).filter((each) => isOf(families, each))) {
      all.push(address);
      const hostname = hostnames.get(address) ?? (endpoint.workload?.kind === "WorkloadEntry" ? endpoint.workload.name : "");
      if (LABEL.test(hostname)) own.set(hostname, [...(own.get(hostname) ?? []), address]);
    }
  }
  if (all.length === 0) return [];
  return [[service.host, limited(all)], ...[...own].map(([name, addresses]) => [`${name}.${service.host}`, limited(addresses)] as const)];
}

/** Who asks. */
interface Asking {
  readonly families: Families;
  /** Whether services without an address are given one. */
  readonly allocates: boolean;
  /** Undefined for the configuration's own. */
  readonly cluster: string | undefined;
}

/** A block of addresses says none. */
function ofService(
  snapshot: MeshSnapshot,
  service: MeshService,
  { families, allocates, cluster }: Asking,
): readonly (readonly [string, readonly string[]])[] {
  const declared = service.service === undefined ? (service.entry?.addresses ?? []) : addressesIn(service.service, cluster);
  const single = declared.filter((address) => parseIpAddress(address) !== undefined);
  // A name whose addresses are all of another family is there all the same.
  if (single.length > 0) return [[service.host, limited(single.filter((address) => isOf(families, address)))]];
  if (declared.length > 0) return [];
  const given = allocates ? autoAddressesOf(snapshot, service, families) : [];
  return given.length === 0 ? ofWorkloads(snapshot, service, families) : [[service.host, given]];
}

/** Once for all workloads that see the same. */
const tableBy = derived(
  (
    snapshot,
    sidecar: SidecarObject | undefined,
    namespace: string,
    families: Families,
    allocates: boolean,
    cluster: string | undefined,
  ): NameTable => {
    const asking = { families, allocates, cluster };
    const names = knownServices(snapshot, sidecar, namespace).flatMap(({ service }) => ofService(snapshot, service, asking));
    return {
      domain: snapshot.settings.clusterDomain,
      closed: !snapshot.services.some(({ bySlices }) => bySlices),
      names: Object.fromEntries(names),
    };
  },
);

/** What a workload's agent answers. Names of which the workload's traffic knows nothing are not among them. */
export function nameTable(snapshot: MeshSnapshot, workload: Workload): NameTable {
  const { namespace, autoAllocates = false, cluster } = workload;
  return tableBy(snapshot, sidecarOf(snapshot, workload), namespace, familiesOf(workload), autoAllocates, cluster);
}
