/** How it stands with the clusters of the mesh. */
import type { ClusterSource } from "../../sources/kubernetes/cluster-source.ts";
import type { RemoteClusterStatus } from "../../sources/kubernetes/remote/remote-clusters.ts";

/** The own cluster has no Secret, no server's address and no time: it is where the control plane is. */
export type ClusterStatus = RemoteClusterStatus | OwnClusterStatus;

export interface OwnClusterStatus extends Pick<RemoteClusterStatus, "name" | "problem" | "pods"> {
  readonly state: "own";
}

/** Of the cluster whose configuration holds. */
export function ownStatus(name: string, { current, problem }: ClusterSource): OwnClusterStatus {
  const pods = current.objects.filter(({ kind }) => kind === "Pod").length;
  return { name, state: "own", problem, pods };
}
