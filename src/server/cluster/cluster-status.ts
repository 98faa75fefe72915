/** How it stands with the clusters of the mesh. */
import type { ClusterSource } from "../../sources/kubernetes/cluster-source.ts";
import type { RemoteClusterStatus } from "../../sources/kubernetes/remote/remote-clusters.ts";

/** The own cluster has no Secret, no server's address and no time: it is where the control plane is. */
export type ClusterStatus = (RemoteClusterStatus & WithUnkept) | OwnClusterStatus;

interface WithUnkept {
  /** What cannot be kept up there, and why: roots in namespaces and in webhooks. */
  readonly unkept: readonly string[];
}

export interface OwnClusterStatus extends Pick<RemoteClusterStatus, "name" | "problem" | "pods"> {
  readonly state: "own";
}

/** Of the cluster whose configuration holds. */
export function ownStatus(name: string, { current, problem }: ClusterSource): OwnClusterStatus {
  const pods = current.objects.filter(({ kind }) => kind === "Pod").length;
  return { name, state: "own", problem, pods };
}

/** Of all clusters. `unkept`: what cannot be kept up in one; of a cluster that cannot be watched there is no more to say. */
export function clusterStatuses(
  statuses: readonly (RemoteClusterStatus | OwnClusterStatus)[],
  unkept: (name: string) => readonly string[],
): readonly ClusterStatus[] {
  return statuses.map((status) => (status.state === "own" ? status : { ...status, unkept: unkept(status.name) }));
}
