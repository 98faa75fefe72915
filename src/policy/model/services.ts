/** What can be called, and where it is served. */
import type { Place } from "../../core/diagnostic.ts";
import type { ObjectMeta, Selector, ServerName, ServicePort } from "./object.ts";

export interface ServiceObject {
  readonly kind: "Service";
  readonly meta: ObjectMeta;
  readonly selector: Selector;
  readonly ports: readonly ServicePort[];
  /** Virtual addresses (`clusterIPs`), by which captured traffic tells the service; absent for a headless one, and where none are said. */
  readonly addresses?: readonly string[];
  /** Said to have no address (`clusterIP: None`): its name means its workloads. */
  readonly headless?: true;
  /** It is a cluster's: where it is served is what EndpointSlices say, whatever its selector. */
  readonly bySlices?: true;
  /** Namespaces whose clients see it, as Istio's annotation `networking.istio.io/exportTo` says them; absent leaves it to the mesh. */
  readonly exportTo?: readonly string[];
  /** Its cluster serves it over IPv4 and IPv6. */
  readonly bothFamilies?: true;
  /** What other clusters say of the Service of this name, by the cluster's name; absent where there is but one cluster. */
  readonly elsewhere?: ReadonlyMap<string, ServiceElsewhere>;
}

/** A Service of the same name in another cluster: what of it is that cluster's own. */
export interface ServiceElsewhere {
  readonly selector: Selector;
  /** By which clients in that cluster call it. */
  readonly addresses?: readonly string[];
}

/** One address of an EndpointSlice. */
export interface SliceEndpoint {
  /** An IP address. */
  readonly address: string;
  /** Takes calls; with `publishNotReadyAddresses` from its start on. */
  readonly ready: boolean;
  /** Ends, and still answers: better than nobody. */
  readonly draining: boolean;
  /** Name of the pod of the same namespace; undefined where it is said to be none. */
  readonly pod: string | undefined;
  /** Its own name below a headless service's; absent where it has none. */
  readonly hostname?: string;
}

/** Kubernetes `discovery.k8s.io/v1` EndpointSlice: a part of where a Service of its namespace is served, as its cluster says. */
export interface EndpointSliceObject {
  readonly kind: "EndpointSlice";
  readonly meta: ObjectMeta;
  /** The cluster whose it is, where that is not the configuration's own: its pods are meant. */
  readonly cluster?: string;
  /** Name of the Service. */
  readonly service: string;
  readonly endpoints: readonly SliceEndpoint[];
  /** TCP ports by the name of the service's port. */
  readonly ports: ReadonlyMap<string, number>;
}

/** Istio `ServiceEntry.endpoints[]`: a place that serves the service, without an object of its own. */
export interface EntryEndpoint {
  /** An IP address; with resolution DNS also a DNS name, in lower case. */
  readonly address: string;
  /** By the names of service ports. */
  readonly ports: ReadonlyMap<string, number>;
  readonly labels: ReadonlyMap<string, string>;
  /** Of the entry's namespace; undefined where nothing says who runs there. */
  readonly serviceAccount: string | undefined;
  readonly place: Place;
}

/** Istio `networking.v1.ServiceEntry`: services by their host, inside the mesh or outside. */
export interface ServiceEntryObject {
  readonly kind: "ServiceEntry";
  readonly meta: ObjectMeta;
  /** DNS names in lower case, without wildcards. */
  readonly hosts: readonly string[];
  readonly location: "MESH_EXTERNAL" | "MESH_INTERNAL";
  readonly resolution: "STATIC" | "DNS" | "DNS_ROUND_ROBIN";
  readonly ports: readonly ServicePort[];
  /** WorkloadEntries of the namespace, or endpoints of its own; with resolution DNS neither, and the host itself is resolved. */
  readonly endpoints:
    | { readonly kind: "selected"; readonly selector: Selector }
    | { readonly kind: "inline"; readonly list: readonly EntryEndpoint[] };
  readonly subjectAltNames: readonly ServerName[];
  /** IP addresses and CIDR blocks by which captured traffic tells it; absent where none are said. */
  readonly addresses?: readonly string[];
  /** Namespaces that see it: names, `.` its own, `*` all; empty means all. */
  readonly exportTo: readonly string[];
}
