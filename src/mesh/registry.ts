/** Every service that clients can name: Services of Kubernetes, and the hosts of ServiceEntries. */
import type { Diagnostic, Place } from "../core/diagnostic.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import type { DefaultExportTo } from "../policy/mesh-config.ts";
import type { EgressListener, EntryEndpoint, Selector, ServiceEntryObject, ServiceObject, ServicePort } from "../policy/model.ts";
import { hasSliceEndpoints, type SlicedEndpoint, sliceEndpoints, sliceWorkloadPorts } from "./endpoint-slices.ts";
import { narrow } from "./recording.ts";
import { selectorMatches, workloadsOfNamespace, workloadsOfService } from "./selection.ts";
import { egressHostMatches, selectorIn, serviceHost, serviceKey, workloadPortOf } from "./services.ts";
import type { MeshSettings, MeshSnapshot, Workload } from "./snapshot.ts";

export interface MeshService {
  /** `NAMESPACE/NAME` of a Service, `NAMESPACE/HOST` of a ServiceEntry's host. */
  readonly key: string;
  readonly namespace: string;
  readonly host: string;
  readonly ports: readonly ServicePort[];
  /** The entry that says it; undefined for a Service. */
  readonly entry: ServiceEntryObject | undefined;
  /** The Service that says it; undefined for a ServiceEntry. */
  readonly service: ServiceObject | undefined;
  readonly place: Place;
}

/** A place that serves a port of a service. */
export interface RegistryEndpoint {
  /** An IP address, or a DNS name where the entry says that it is resolved. */
  readonly address: string;
  /** The same workload's, of the other family. */
  readonly secondAddress?: string;
  readonly port: number;
  readonly labels: ReadonlyMap<string, string>;
  /** A SPIFFE ID; undefined where nothing says who runs there. */
  readonly identity: string | undefined;
  /** Undefined for an endpoint that is no object of its own. */
  readonly workload: Workload | undefined;
}

// === Services ===

interface Registry {
  readonly services: readonly MeshService[];
  readonly diagnostics: readonly Diagnostic[];
  /** By their own namespace. */
  readonly byNamespace: ReadonlyMap<string, readonly MeshService[]>;
  /** By the client's namespace, then by host, with what holds where nothing is said; filled as it is asked for. */
  readonly visible: Map<string, { readonly usual: readonly string[]; readonly seen: ReadonlyMap<string, MeshService> }>;
}

/** Of a Service or an entry, the service of each host: as long as they are the same object, so is what is made of them. */
const made = new WeakMap<ServiceObject | ServiceEntryObject, Map<string, MeshService>>();

function serviceOnce(of: ServiceObject | ServiceEntryObject, host: string, make: () => MeshService): MeshService {
  const byHost = made.get(of) ?? new Map<string, MeshService>();
  const service = byHost.get(host) ?? make();
  made.set(of, byHost.set(host, service));
  return service;
}

function ofService(settings: MeshSettings, service: ServiceObject): MeshService {
  const { namespace, place } = service.meta;
  const host = serviceHost(settings, service);
  const { ports } = service;
  return serviceOnce(service, host, () => ({ key: serviceKey(service), namespace, host, ports, entry: undefined, service, place }));
}

function ofEntryHost(entry: ServiceEntryObject, host: string): MeshService {
  const { namespace, place } = entry.meta;
  const { ports } = entry;
  return serviceOnce(entry, host, () => ({ key: `${namespace}/${host}`, namespace, host, ports, entry, service: undefined, place }));
}

/** The namespace that a host of the cluster's own domain belongs to; undefined for any other host. */
function ownerOf({ clusterDomain }: MeshSettings, host: string): string | undefined {
  const end = `.svc.${clusterDomain}`;
  return host.endsWith(end) ? host.slice(0, -end.length).split(".").at(-1) : undefined;
}

/**
 * Why a host of an entry is not taken: it would answer for somebody else's service. The root namespace may name hosts
 * of any namespace, but none that is there already.
 */
function claimProblem(settings: MeshSettings, { meta }: ServiceEntryObject, host: string, taken: ReadonlySet<string>): string | undefined {
  const owner = ownerOf(settings, host);
  if (owner !== undefined && owner !== meta.namespace && meta.namespace !== settings.rootNamespace)
    return `\`${host}\` belongs to namespace \`${owner}\``;
  return taken.has(host) || taken.has(`${meta.namespace}/${host}`) ? `\`${host}\` is a service already` : undefined;
}

function buildRegistry(objects: readonly ServiceObject[], entries: readonly ServiceEntryObject[], settings: MeshSettings): Registry {
  const services: MeshService[] = objects.map((service) => ofService(settings, service));
  const taken = new Set(services.map(({ host }) => host));
  const diagnostics: Diagnostic[] = [];
  for (const entry of entries) {
    const { namespace, name, place } = entry.meta;
    for (const host of entry.hosts) {
      const key = `${namespace}/${host}`;
      const problem = claimProblem(settings, entry, host, taken);
      if (problem === undefined) services.push(ofEntryHost(entry, host));
      else {
        const message = `host of ServiceEntry \`${namespace}/${name}\` is not taken: ${problem}`;
        diagnostics.push({ code: "GAR0104", message, place, help: "remove the host from the entry, or name another" });
      }
      taken.add(key);
    }
  }
  return { services, diagnostics, byNamespace: Map.groupBy(services, ({ namespace }) => namespace), visible: new Map() };
}

/** By the list of Services; made for these entries and settings. */
const registries = new WeakMap<readonly ServiceObject[], { readonly of: readonly unknown[]; readonly registry: Registry }>();

/** Made once for each state. It reads what it is made of every time, so that whoever notes what is read (`recording.ts`) sees it. */
function registryOf(snapshot: MeshSnapshot): Registry {
  const { services, serviceEntries, settings } = snapshot;
  const of = [serviceEntries, settings];
  const known = registries.get(services);
  if (known?.of.every((part, index) => part === of[index])) return known.registry;
  const registry = buildRegistry(services, serviceEntries, settings);
  registries.set(services, { of, registry });
  return registry;
}

/** All services, Services before entries, oldest first. Made once for each snapshot. */
export function meshServices(snapshot: MeshSnapshot): readonly MeshService[] {
  return registryOf(snapshot).services;
}

/** Hosts that no service could be made of. */
export function registryDiagnostics(snapshot: MeshSnapshot): readonly Diagnostic[] {
  return registryOf(snapshot).diagnostics;
}

/** Istio `exportTo`: whether what is of `owner` is seen in `namespace`. */
export function isExportedTo(exportTo: readonly string[], owner: string, namespace: string): boolean {
  return exportTo.length === 0 || exportTo.includes("*") || exportTo.includes(namespace) || (exportTo.includes(".") && owner === namespace);
}

const EVERYBODY: readonly string[] = [];

/** What holds for what says nothing itself. */
export const defaultExportTo = narrow(
  ({ meshConfig }, kind: keyof DefaultExportTo): readonly string[] => meshConfig.defaultExportTo?.[kind] ?? EVERYBODY,
);

function exportedTo({ entry, service }: MeshService, usual: readonly string[]): readonly string[] {
  const said = entry?.exportTo ?? service?.exportTo ?? [];
  return said.length === 0 ? usual : said;
}

function seenFrom(services: readonly MeshService[], namespace: string, usual: readonly string[]): ReadonlyMap<string, MeshService> {
  const seen = new Map<string, MeshService>();
  for (const service of services) {
    if (!isExportedTo(exportedTo(service, usual), service.namespace, namespace)) continue;
    const before = seen.get(service.host);
    if (before === undefined || (before.namespace !== namespace && service.namespace === namespace)) seen.set(service.host, service);
  }
  return seen;
}

function visibleByHost(snapshot: MeshSnapshot, namespace: string): ReadonlyMap<string, MeshService> {
  const { services, visible } = registryOf(snapshot);
  const usual = defaultExportTo(snapshot, "services");
  const known = visible.get(namespace);
  if (known?.usual === usual) return known.seen;
  const seen = seenFrom(services, namespace, usual);
  visible.set(namespace, { usual, seen });
  return seen;
}

/** What a client in `namespace` sees under a host. Of several services with one host, that of its own namespace, or else the oldest. */
export const visibleService = narrow((snapshot, namespace: string, host: string): MeshService | undefined =>
  visibleByHost(snapshot, namespace).get(host),
);

/** Everything that a client in `namespace` sees, each host once. */
export const visibleServices = narrow((snapshot, namespace: string): readonly MeshService[] => [
  ...visibleByHost(snapshot, namespace).values(),
]);

/** The services that the hosts of an egress listener of a Sidecar in force in `namespace` name. */
export const reachedServices = narrow((snapshot, { hosts }: EgressListener, namespace: string): readonly MeshService[] => {
  const [first, ...others] = hosts;
  const visible = visibleByHost(snapshot, namespace);
  // Most name one service.
  const exact = first !== undefined && others.length === 0 && !first.host.includes("*");
  const candidates = exact ? [visible.get(first.host)].filter((service) => service !== undefined) : [...visible.values()];
  return candidates.filter((service) => hosts.some((host) => egressHostMatches(host, namespace, service)));
});

// === Endpoints ===

/** The labels by which a service selects workloads of a cluster; undefined for one with endpoints of its own. */
function selectorOf({ service, entry }: MeshService, cluster?: string): Selector | undefined {
  if (service !== undefined) return selectorIn(service, cluster);
  return entry?.endpoints.kind === "selected" ? entry.endpoints.selector : undefined;
}

/** Whether a workload serves a service: of the same namespace, by a selector that is not empty. */
function selectsWorkload(service: MeshService, workload: Workload): boolean {
  const selector = selectorOf(service, workload.cluster);
  if (selector === undefined || selector.size === 0) return false;
  return service.namespace === workload.namespace && selectorMatches(selector, workload.labels);
}

/** The workload's port behind a port of a service that leads there: by the service's selector, or without one by the slices that its namespace writes. */
export function servedPort(snapshot: MeshSnapshot, mesh: MeshService, port: ServicePort, workload: Workload): number | undefined {
  if (selectsWorkload(mesh, workload)) return workloadPortOf(port, workload);
  const { service, namespace } = mesh;
  if (service?.bySlices !== true || selectorIn(service, workload.cluster).size > 0 || namespace !== workload.namespace) return undefined;
  return sliceWorkloadPorts(snapshot, service, workload).get(port.name);
}

/** The services that a workload serves, in the order of the mesh's. */
export const servicesOfWorkload = narrow((snapshot, workload: Workload): readonly MeshService[] =>
  (registryOf(snapshot).byNamespace.get(workload.namespace) ?? []).filter((service) =>
    service.ports.some((port) => servedPort(snapshot, service, port, workload) !== undefined),
  ),
);

/** Whether a service finds its endpoints by labels or slices, and finds none. */
export function selectsNobody(snapshot: MeshSnapshot, service: MeshService): boolean {
  if (service.service?.bySlices === true && hasSliceEndpoints(snapshot, service.service)) return false;
  return selectorOf(service) !== undefined && workloadsOf(snapshot, service).length === 0;
}

const workloadsOfEntry = narrow((snapshot, { meta, endpoints }: ServiceEntryObject): readonly Workload[] => {
  if (endpoints.kind !== "selected" || endpoints.selector.size === 0) return [];
  const all = workloadsOfNamespace(snapshot, meta.namespace);
  return all.filter((workload) => selectorMatches(endpoints.selector, workload.labels));
});

function workloadsOf(snapshot: MeshSnapshot, { service, entry }: MeshService): readonly Workload[] {
  if (service !== undefined) return workloadsOfService(snapshot, service);
  return entry === undefined ? [] : workloadsOfEntry(snapshot, entry);
}

function ofWorkload(workload: Workload, port: ServicePort): readonly RegistryEndpoint[] {
  const { address, secondAddress, labels, identity, ready } = workload;
  const second = secondAddress === undefined ? {} : { secondAddress };
  const workloadPort = workloadPortOf(port, workload);
  return workloadPort === undefined || !ready ? [] : [{ address, ...second, port: workloadPort, labels, identity, workload }];
}

function ofEntry(snapshot: MeshSnapshot, namespace: string, endpoint: EntryEndpoint, port: ServicePort): RegistryEndpoint {
  const { address, ports, labels, serviceAccount } = endpoint;
  const { trustDomain } = snapshot.settings;
  const identity = serviceAccount === undefined ? undefined : formatSpiffeId({ trustDomain, namespace, serviceAccount });
  return { address, port: ports.get(port.name) ?? Number(port.targetPort), labels, identity, workload: undefined };
}

function ofSlice({ address, secondAddress, port, workload }: SlicedEndpoint): RegistryEndpoint {
  const second = secondAddress === undefined ? {} : { secondAddress };
  return { address, ...second, port, labels: workload?.labels ?? new Map(), identity: workload?.identity, workload };
}

/** Slices know pods and whatever else their authors name; entries are the mesh's own, and the selector finds them all the same (as in Istio). */
function ofCluster(snapshot: MeshSnapshot, service: ServiceObject, port: ServicePort): readonly RegistryEndpoint[] {
  const entries = workloadsOfService(snapshot, service).filter(({ kind }) => kind === "WorkloadEntry");
  return [...sliceEndpoints(snapshot, service, port.name).map(ofSlice), ...entries.flatMap((workload) => ofWorkload(workload, port))];
}

function declaredEndpoints(snapshot: MeshSnapshot, service: MeshService, port: ServicePort): readonly RegistryEndpoint[] {
  const { entry, namespace, host } = service;
  if (service.service?.bySlices === true) return ofCluster(snapshot, service.service, port);
  if (entry?.endpoints.kind !== "inline") return workloadsOf(snapshot, service).flatMap((workload) => ofWorkload(workload, port));
  const { list } = entry.endpoints;
  if (list.length > 0 || entry.resolution === "STATIC") return list.map((endpoint) => ofEntry(snapshot, namespace, endpoint, port));
  return [{ address: host, port: Number(port.targetPort), labels: new Map(), identity: undefined, workload: undefined }];
}

/** Where a port of a service is served. Resolved by DNS and without endpoints, that is the host itself. What is revoked has no certificate with which it could answer. */
export function endpointsOf(snapshot: MeshSnapshot, service: MeshService, port: ServicePort): readonly RegistryEndpoint[] {
  const { identities } = snapshot.revoked;
  return declaredEndpoints(snapshot, service, port).filter(({ identity }) => identity === undefined || !identities.has(identity));
}
