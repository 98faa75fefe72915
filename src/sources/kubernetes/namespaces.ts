/** What is to be known of a namespace before anything is written into it. */
import type { ApiAnswer } from "./api.ts";
import { isPlain } from "./api-objects.ts";

/** As in Istio: no workload of the mesh runs there. */
export const OF_KUBERNETES: ReadonlySet<string> = new Set(["kube-system", "kube-public", "kube-node-lease", "local-path-storage"]);

/** Whether a write was refused since the namespace ends, or is gone: it takes nothing new. */
export function isEnding({ status, body }: ApiAnswer): boolean {
  if (status === 404) return true;
  const { details } = isPlain(body) ? body : {};
  const causes = isPlain(details) && Array.isArray(details.causes) ? details.causes : [];
  return status === 403 && causes.some((cause: unknown) => isPlain(cause) && cause.reason === "NamespaceTerminating");
}
