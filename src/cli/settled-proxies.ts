/** What the proxies of a mesh that has just started make of their configuration. */
import { setTimeout as delay } from "node:timers/promises";
import type { MeshStatus, WorkloadStatus } from "../server/status.ts";
import { callAdmin } from "./admin-client.ts";

/** A proxy answers within moments of its being ready; who has not by then is told as such. */
const PATIENCE_MS = 5_000;

const NOT_SETTLED = "its proxy has not taken its configuration yet";

function isSettled({ proxies }: WorkloadStatus): boolean {
  return proxies.length > 0 && proxies.every(({ state }) => state !== "pending");
}

/** Why a workload is not whole, in words; undefined where it is. */
export function troubleOf(workload: WorkloadStatus): string | undefined {
  const refused = workload.proxies.flatMap((proxy) => proxy.refused.map(({ message }) => message.trim()));
  if (refused.length > 0) return refused.join("; ");
  return isSettled(workload) ? undefined : NOT_SETTLED;
}

/** By workload, why its proxy does not do all that it should; waits a little for those that have not answered. Throws as `callAdmin`. */
export async function troubles(adminSocket: string, workloads: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
  for (const end = Date.now() + PATIENCE_MS; ; await delay(50)) {
    const status = (await callAdmin(adminSocket, "GET", "/v1/status")) as MeshStatus;
    const own = status.workloads.filter(({ workload }) => workloads.has(workload));
    if (Date.now() < end && !own.every(isSettled)) continue;
    return new Map(
      own.flatMap((each) => {
        const trouble = troubleOf(each);
        return trouble === undefined ? [] : [[each.workload, trouble] as const];
      }),
    );
  }
}
