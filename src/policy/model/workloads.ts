/** Who runs, and as whom: accounts, pods, machines and their groups; and the mesh's own configuration. */
import type { HealthProbe } from "../health-probe.ts";
import type { MeshConfig, ProxyConfig } from "../mesh-config.ts";
import type { ObjectMeta } from "./object.ts";

export interface NamespaceObject {
  readonly kind: "Namespace";
  readonly meta: ObjectMeta;
}

export interface ServiceAccountObject {
  readonly kind: "ServiceAccount";
  readonly meta: ObjectMeta;
}

/** Istio `networking.v1.WorkloadEntry`: one workload that is not a pod. */
export interface WorkloadEntryObject {
  readonly kind: "WorkloadEntry";
  readonly meta: ObjectMeta;
  readonly address: string;
  readonly ports: ReadonlyMap<string, number>;
  /** `spec.labels`, over `metadata.labels`. */
  readonly labels: ReadonlyMap<string, string>;
  readonly serviceAccount: string;
  /** Of the annotation `proxy.istio.io/config`; absent where there is none. */
  readonly proxyConfig?: ProxyConfig;
  /** Of one that its agent registered, or whose health is watched; absent for every other, which counts as healthy. */
  readonly health?: WorkloadHealth;
}

/** What is known of a workload whose agent asks its application. Only `healthy` gets calls. */
export interface WorkloadHealth {
  readonly state: "unknown" | "healthy" | "unhealthy";
  /** Why; empty where there is nothing to say. */
  readonly detail: string;
  /** Name of the WorkloadGroup, in its own namespace; undefined for an entry that somebody wrote. */
  readonly group: string | undefined;
}

/** Istio `networking.v1.WorkloadGroup`: what members that register themselves have in common. */
export interface WorkloadGroupObject {
  readonly kind: "WorkloadGroup";
  readonly meta: ObjectMeta;
  /** Of the members: `template.labels` and `metadata.labels`. */
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  readonly ports: ReadonlyMap<string, number>;
  readonly serviceAccount: string;
  /** Undefined: members are never asked, and count as healthy. */
  readonly probe: HealthProbe | undefined;
}

/** Kubernetes `v1` ConfigMap, of which only one means anything to the mesh. */
export interface ConfigMapObject {
  readonly kind: "ConfigMap";
  readonly meta: ObjectMeta;
  /** Of a ConfigMap `istio` with the key `mesh`; undefined for every other, which is its application's own. */
  readonly mesh: MeshConfig | undefined;
}

/** A Kubernetes pod that runs, or is about to: one workload. Its labels are its metadata's. */
export interface PodObject {
  readonly kind: "Pod";
  readonly meta: ObjectMeta;
  /** The cluster that it runs in, where that is not the configuration's own. */
  readonly cluster?: string;
  readonly address: string;
  /** Of the other family of addresses, where it has one. */
  readonly secondAddress?: string;
  /** TCP ports of its containers, by name. */
  readonly ports: ReadonlyMap<string, number>;
  readonly serviceAccount: string;
  /** Whether services may lead to it: its condition `Ready`. */
  readonly ready: boolean;
  /** It has its node's addresses, which are not its own alone. */
  readonly hostNetwork?: true;
  /** Of the annotation `proxy.istio.io/config`; absent where there is none. */
  readonly proxyConfig?: ProxyConfig;
}
