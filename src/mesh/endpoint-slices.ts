/** Where the services of a cluster are served: by EndpointSlices, as every other proxy of the cluster has it. */
import type { EndpointSliceObject, ServiceObject, SliceEndpoint } from "../policy/model.ts";
import { narrow } from "./recording.ts";
import { objectsIn } from "./selection.ts";
import { addressesOf, type MeshSnapshot, type Workload, workloadKey } from "./snapshot.ts";

/** Where one port of a service is served. */
export interface SlicedEndpoint {
  readonly address: string;
  /** The same pod's, of the other family. */
  readonly secondAddress?: string;
  readonly port: number;
  /** Undefined for an address that is no pod's: a machine, a server outside. */
  readonly workload: Workload | undefined;
}

const slicesOf = narrow((snapshot, { meta }: ServiceObject): readonly EndpointSliceObject[] =>
  objectsIn(snapshot, "endpointSlices", meta.namespace).filter(({ service }) => service === meta.name),
);

const byAddress = new WeakMap<ReadonlyMap<string, Workload>, ReadonlyMap<string, Workload>>();

/** The pod that has an address to itself. */
export const podAt = narrow((snapshot, address: string): Workload | undefined => {
  const { workloads } = snapshot;
  const known =
    byAddress.get(workloads) ??
    new Map(
      [...workloads.values()]
        .filter(({ kind, hostNetwork }) => kind === "Pod" && hostNetwork !== true)
        .flatMap((workload) => addressesOf(workload).map((each) => [each, workload] as const)),
    );
  byAddress.set(workloads, known);
  return known.get(address);
});

const podNamed = narrow((snapshot, key: string): Workload | undefined => {
  const found = snapshot.workloads.get(key);
  return found?.kind === "Pod" ? found : undefined;
});

function isAt({ address, secondAddress }: Workload, asked: string): boolean {
  return address === asked || secondAddress === asked;
}

/**
 * Who is at an address. "unknown": a pod that has not been seen yet, or with another address than its slice says (one of an
 * earlier life): until that is known, nothing may be sent there, since nothing says how.
 */
function whoIsAt(
  snapshot: MeshSnapshot,
  { meta: { namespace }, cluster }: EndpointSliceObject,
  { address, pod }: SliceEndpoint,
): Workload | undefined | "unknown" {
  if (pod === undefined) return podAt(snapshot, address);
  const named = podNamed(snapshot, workloadKey(namespace, pod, cluster));
  return named !== undefined && isAt(named, address) ? named : "unknown";
}

/** Those that are ready; where none is, those that still answer while they end, as every kube-proxy does (KEP-1669). */
function usable<T extends { readonly endpoint: SliceEndpoint }>(candidates: readonly T[]): readonly T[] {
  const ready = candidates.filter(({ endpoint }) => endpoint.ready);
  return ready.length > 0 ? ready : candidates.filter(({ endpoint }) => endpoint.draining);
}

/**
 * Of a service of both families a pod is one endpoint with two addresses, its own first one first, as soon as the slices of one of them name it: Envoy
 * gives an endpoint that it knows no second address any more.
 */
function oncePerPod(endpoints: readonly SlicedEndpoint[]): readonly SlicedEndpoint[] {
  const pods = new Set<string>();
  return endpoints.flatMap((endpoint) => {
    const { workload, port } = endpoint;
    if (workload?.secondAddress === undefined) return [endpoint];
    const { address, secondAddress } = workload;
    if (pods.has(`${address} ${port}`)) return [];
    pods.add(`${address} ${port}`);
    return [{ address, secondAddress, port, workload }];
  });
}

/** Where the service's port of this name is served. */
export function sliceEndpoints(snapshot: MeshSnapshot, service: ServiceObject, portName: string): readonly SlicedEndpoint[] {
  const candidates = slicesOf(snapshot, service).flatMap((slice) => {
    const port = slice.ports.get(portName);
    return port === undefined ? [] : slice.endpoints.map((endpoint) => ({ slice, endpoint, port }));
  });
  const found = usable(candidates).flatMap(({ slice, endpoint, port }) => {
    const workload = whoIsAt(snapshot, slice, endpoint);
    return workload === "unknown" ? [] : [{ address: endpoint.address, port, workload }];
  });
  return service.bothFamilies === true ? oncePerPod(found) : found;
}

/** Whether any slice of the service has an address. */
export function hasSliceEndpoints(snapshot: MeshSnapshot, service: ServiceObject): boolean {
  return slicesOf(snapshot, service).some(({ endpoints }) => endpoints.length > 0);
}

/** The ports of a workload to which a service without a selector leads, by the names of the service's ports. */
export function sliceWorkloadPorts(snapshot: MeshSnapshot, service: ServiceObject, workload: Workload): ReadonlyMap<string, number> {
  const { namespace, name } = workload;
  const leadsHere = ({ cluster }: EndpointSliceObject, endpoint: SliceEndpoint): boolean =>
    isAt(workload, endpoint.address) &&
    (endpoint.pod === undefined || (endpoint.pod === name && service.meta.namespace === namespace && cluster === workload.cluster));
  const slices = slicesOf(snapshot, service).filter((slice) => slice.endpoints.some((endpoint) => leadsHere(slice, endpoint)));
  return new Map(slices.flatMap(({ ports }) => [...ports]));
}

/** The names of their own that endpoints of a headless service have below it, by address (a StatefulSet's pods). */
export function endpointHostnames(snapshot: MeshSnapshot, service: ServiceObject): ReadonlyMap<string, string> {
  const endpoints = slicesOf(snapshot, service).flatMap((slice) => slice.endpoints);
  return new Map(endpoints.flatMap(({ address, hostname }) => (hostname === undefined ? [] : [[address, hostname] as const])));
}
