/** The response header that tells a client which rule has denied its request, where the workload's owner wants that. */
import { type Decision, formatBecause } from "./decision.ts";

/** Only proxies write it: what an application says under this name is taken out. */
export const DENIED_BY_HEADER = "x-garrison-denied-by";

/** Of a request whose token is refused, before any rule is asked. */
export const DENIED_BY_TOKEN = "token";

/** What the header says of a decision: `NAMESPACE/POLICY[RULE]`, `default` or `revoked`. */
export function deniedBy({ because }: Pick<Decision, "because">): string {
  return formatBecause(because);
}
