/** On how many of the proxies that are connected here each policy is in force. */
import type { CompiledMesh } from "../../compile/compile.ts";
import type { ProxyCount, ProxyCounts } from "../../sources/kubernetes/replica-reports.ts";
import type { XdsConnection } from "../../xds/connection.ts";
import { parseProxyView } from "../publisher.ts";

/** By the key of each policy. A proxy counts as enforcing when it runs the newest state of its workload. */
export function proxyCounts(
  { statuses }: Pick<CompiledMesh, "statuses">,
  connections: readonly Pick<XdsConnection, "key" | "state">[],
): ProxyCounts {
  const byWorkload = Map.groupBy(connections, ({ key }) => parseProxyView(key).workload);
  const counts = new Map<string, ProxyCount>();
  for (const { object, workloads } of statuses) {
    const own = workloads.flatMap((workload) => byWorkload.get(workload) ?? []);
    counts.set(object, { connected: own.length, enforced: own.filter(({ state }) => state === "acked").length });
  }
  return counts;
}
