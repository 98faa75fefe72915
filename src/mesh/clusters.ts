/**
 * One mesh of several clusters: a namespace is the same in all of them (SIG Multicluster's "namespace sameness", as in Istio). Policies are of
 * the configuration's own cluster alone; other clusters add workloads, accounts and services.
 */
import type { Diagnostic } from "../core/diagnostic.ts";
import { type MeshObject, objectKey, type PodObject, type ServiceObject, type ServicePort } from "../policy/model.ts";
import { serviceKey } from "./services.ts";
import { addressesOf } from "./snapshot.ts";

/** What another cluster says of itself, as of now. */
export interface OtherCluster {
  readonly name: string;
  readonly objects: readonly MeshObject[];
}

export interface Merged {
  readonly objects: readonly MeshObject[];
  readonly diagnostics: readonly Diagnostic[];
}

interface ServiceOf {
  /** Undefined for the configuration's own cluster. */
  readonly cluster: string | undefined;
  readonly service: ServiceObject;
}

function portText({ name, port, protocol }: ServicePort): string {
  return `${port} (${name === "" ? "" : `${name}, `}${protocol})`;
}

function portsText({ ports }: ServiceObject): string {
  return ports.map(portText).sort().join(", ");
}

/** The first says its ports; of the others only what is their clusters' own. */
function mergeServices(first: ServiceOf, all: readonly ServiceOf[]): ServiceObject {
  const { addresses: own, ...common } = first.service;
  const elsewhere = all.flatMap(({ cluster, service: { selector, addresses } }) =>
    cluster === undefined ? [] : [[cluster, { selector, ...(addresses === undefined ? {} : { addresses }) }] as const],
  );
  return {
    ...common,
    ...(first.cluster !== undefined || own === undefined ? {} : { addresses: own }),
    ...(elsewhere.length === 0 ? {} : { elsewhere: new Map(elsewhere) }),
  };
}

function differs(first: ServiceOf, { cluster, service }: ServiceOf): Diagnostic {
  return {
    code: "GAR0361",
    message: `Service \`${serviceKey(service)}\` has other ports in cluster \`${cluster}\`: ${portsText(service)} instead of ${portsText(first.service)}`,
    place: service.meta.place,
    help: `a Service is one over all clusters: give it the same ports; until then those of ${first.cluster === undefined ? "the configuration's own cluster" : `cluster \`${first.cluster}\``} hold`,
  };
}

function taken({ meta, cluster }: PodObject, address: string, owner: string | undefined): Diagnostic {
  return {
    code: "GAR0362",
    message: `Pod \`${meta.namespace}/${meta.name}\` of cluster \`${cluster}\` is not taken in: its address ${address} is already one of ${owner === undefined ? "the configuration's own cluster" : `cluster \`${owner}\``}`,
    place: meta.place,
    help: "clusters of one network have addresses of their own: give their pods ranges that do not overlap",
  };
}

const NETWORK = "topology.istio.io/network";

/** Istio's label on the root namespace: clusters of one network reach each other's pods. */
function networkOf(objects: readonly MeshObject[], rootNamespace: string): string | undefined {
  const namespace = objects.find(({ kind, meta }) => kind === "Namespace" && meta.name === rootNamespace);
  return namespace?.meta.labels.get(NETWORK);
}

/** Where both say that they are on networks, and not on one, no packet gets from one to the other. */
function onAnotherNetwork({ name, objects }: OtherCluster, own: readonly MeshObject[], rootNamespace: string): readonly Diagnostic[] {
  const [here, there] = [networkOf(own, rootNamespace), networkOf(objects, rootNamespace)];
  if (here === undefined || there === undefined || here === there) return [];
  return [
    {
      code: "GAR0364",
      message: `cluster \`${name}\` is not taken in: it is on network \`${there}\`, and the configuration's own cluster on \`${here}\``,
      place: { file: `Namespace ${rootNamespace} of cluster ${name}`, line: 0, column: 0 },
      help: `gateways between networks are not supported: give clusters whose pods reach each other one \`${NETWORK}\`, and others a control plane of their own, with federation`,
    },
  ];
}

/** Which cluster has an address: the configuration's own, then the first by name. What another cluster says cannot change who is there. */
function ownersOf(own: readonly MeshObject[], others: readonly OtherCluster[]): ReadonlyMap<string, string | undefined> {
  const owners = new Map<string, string | undefined>();
  for (const object of own) {
    if (object.kind === "WorkloadEntry") owners.set(object.address, undefined);
    if (object.kind === "Pod") for (const address of addressesOf(object)) owners.set(address, undefined);
  }
  for (const { name, objects } of others)
    for (const object of objects)
      if (object.kind === "Pod") for (const address of addressesOf(object)) if (!owners.has(address)) owners.set(address, name);
  return owners;
}

/** All but Services: pods with addresses of their own, namespaces and accounts once. */
function addOthers(own: readonly MeshObject[], others: readonly OtherCluster[]): Merged {
  const objects: MeshObject[] = own.filter(({ kind }) => kind !== "Service");
  const diagnostics: Diagnostic[] = [];
  const isShared = ({ kind }: MeshObject): boolean => kind === "Namespace" || kind === "ServiceAccount";
  const known = new Set(own.filter(isShared).map(objectKey));
  const owners = ownersOf(own, others);
  for (const { name, objects: found } of others) {
    for (const object of found.filter(({ kind }) => kind !== "Service")) {
      const lost = object.kind === "Pod" ? addressesOf(object).find((address) => owners.get(address) !== name) : undefined;
      if (object.kind === "Pod" && lost !== undefined) diagnostics.push(taken(object, lost, owners.get(lost)));
      else if (!isShared(object) || !known.has(objectKey(object))) objects.push(object);
      if (isShared(object)) known.add(objectKey(object));
    }
  }
  return { objects, diagnostics };
}

/** Merges one state after another: what is the same in two of them is the same object. */
export class ClusterMerger {
  #services: ReadonlyMap<string, { readonly parts: readonly ServiceOf[]; readonly merged: ServiceObject }> = new Map();

  /** `all` by name. */
  merge(own: readonly MeshObject[], all: readonly OtherCluster[], rootNamespace: string): Merged {
    const apart = all.flatMap((cluster) => onAnotherNetwork(cluster, own, rootNamespace));
    const others = all.filter((cluster) => onAnotherNetwork(cluster, own, rootNamespace).length === 0);
    if (others.length === 0) return { objects: own, diagnostics: apart };
    const services = Map.groupBy(servicesOf(own, others), ({ service }) => serviceKey(service));
    const { objects, diagnostics: ofPods } = addOthers(own, others);
    const { merged, diagnostics: ofServices } = this.#merged(services);
    return { objects: [...objects, ...merged], diagnostics: [...apart, ...ofPods, ...ofServices] };
  }

  #merged(services: ReadonlyMap<string, readonly ServiceOf[]>): {
    readonly merged: readonly ServiceObject[];
    readonly diagnostics: readonly Diagnostic[];
  } {
    const diagnostics: Diagnostic[] = [];
    const before = this.#services;
    const now = new Map<string, { readonly parts: readonly ServiceOf[]; readonly merged: ServiceObject }>();
    for (const [key, parts] of services) {
      const [first, ...others] = parts;
      if (first === undefined) continue;
      const known = before.get(key);
      const same = known?.parts.length === parts.length && known.parts.every(({ service }, index) => service === parts[index]?.service);
      now.set(key, same ? known : { parts, merged: mergeServices(first, parts) });
      for (const other of others) if (portsText(other.service) !== portsText(first.service)) diagnostics.push(differs(first, other));
    }
    this.#services = now;
    return { merged: [...now.values()].map(({ merged }) => merged), diagnostics };
  }
}

function servicesOf(own: readonly MeshObject[], others: readonly OtherCluster[]): readonly ServiceOf[] {
  const clusters = [{ name: undefined, objects: own }, ...others];
  return clusters.flatMap(({ name, objects }) =>
    objects.flatMap((object): readonly ServiceOf[] => (object.kind === "Service" ? [{ cluster: name, service: object }] : [])),
  );
}
