/** How a control plane stands in its cluster. */
import type { InjectOptions } from "../../capture/inject/containers.ts";
import type { OtherClustersPlace } from "./other-clusters.ts";

/** What Istio calls a cluster that nobody has named. */
export const DEFAULT_CLUSTER_NAME = "Kubernetes";

interface ObjectName {
  readonly namespace: string;
  readonly name: string;
}

export interface ClusterPlace {
  /** The Service in front of it: its certificate carries the name, and replicas find each other in its namespace. */
  readonly service: ObjectName;
  /** Where the API server has objects looked at; undefined: nowhere. */
  readonly webhooks: { readonly host: string; readonly port: number } | undefined;
  /** The Secret with the CA that all replicas share; undefined: each has its own, so that there must be but one. */
  readonly caSecret: ObjectName | undefined;
  /** The folder of what must outlive the state folder of a replica: ledger, log, record of decisions; with a shared CA alone. Without, they are in the state folder. */
  readonly records?: string;
  /** The namespaces whose service accounts get a Secret with a key and certificates; `*` for all; none: nobody does. */
  readonly citadel: readonly string[];
  /** Where the other replicas reach this one's port; without, the address that it listens on, where that is one. */
  readonly replicaAddress?: string;
  /** This cluster's name among several; `Kubernetes` without, as Istio's. */
  readonly name?: string;
  /** Where other clusters are named; without, there is but this one. */
  readonly others?: OtherClustersPlace;
  /** What pods get; without, none is injected. */
  readonly injection?: InjectOptions;
}

export const DEFAULT_CLUSTER_PLACE: ClusterPlace = {
  service: { namespace: "garrison-system", name: "garrison" },
  webhooks: undefined,
  caSecret: undefined,
  citadel: [],
};

/** By these names API servers know the control plane: the own cluster's, and the others'. */
export function serviceNames({ service: { namespace, name }, others }: ClusterPlace): readonly string[] {
  return [`${name}.${namespace}.svc`, ...(others?.controlPlane === undefined ? [] : [others.controlPlane.host])];
}
