/** Clusters that lead to where a connection was going before it was redirected. */
import { create } from "@bufbuild/protobuf";
import type { PeerTransport, WorkloadPolicy } from "../../../compile/workload-policy.ts";
import { type Cluster, Cluster_DiscoveryType, ClusterSchema } from "../../../gen/envoy/config/cluster/v3/cluster_pb.js";
import { cluster, originalDestination } from "../cluster.ts";
import { clientTls, NOBODY } from "../tls.ts";
import { towardsApplication } from "./own-address.ts";

/** Istio's names. */
export const PASSTHROUGH = "PassthroughCluster";
export const INBOUND_PASSTHROUGH = "InboundPassthroughCluster";
export const BLACK_HOLE = "BlackHoleCluster";

/** A cluster without endpoints: what is sent there is closed. */
function blackHole(): Cluster {
  return create(ClusterSchema, {
    ...cluster(BLACK_HOLE, "tcp"),
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
  });
}

/** The name of the cluster of peers that are spoken to so. */
export function peerCluster(transport: PeerTransport): string {
  if (transport.kind === "plaintext") return PASSTHROUGH;
  return transport.kind === "nobody" ? BLACK_HOLE : `peer||${transport.identities[0] ?? NOBODY}`;
}

/** Every peer of a cluster must prove the one account that the cluster is of, at whatever address it was called. */
function peerClusters(policy: WorkloadPolicy): readonly Cluster[] {
  const transports = (policy.capture?.peers ?? []).map(({ transport }) => [peerCluster(transport), transport] as const);
  return [...new Map(transports)].flatMap(([name, transport]) => {
    if (transport.kind !== "mtls") return [];
    const { identities } = transport;
    return [
      create(ClusterSchema, {
        ...originalDestination(name, "tcp"),
        transportSocket: clientTls({ identities, sni: "", protocol: "tcp" }, policy),
      }),
    ];
  });
}

/** What a captured workload has besides the clusters of services and of its own ports; none for any other. */
export function captureClusters(policy: WorkloadPolicy): readonly Cluster[] {
  if (policy.capture === undefined) return [];
  const inbound = { ...originalDestination(INBOUND_PASSTHROUGH, "tcp"), ...towardsApplication(policy, policy.address) };
  return [
    blackHole(),
    create(ClusterSchema, originalDestination(PASSTHROUGH, "tcp")),
    create(ClusterSchema, inbound),
    ...peerClusters(policy),
  ];
}
