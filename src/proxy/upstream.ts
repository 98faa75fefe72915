/** What requests are sent to: a pool to one endpoint, or a choice among several. */
import type { UpstreamConnection } from "./message.ts";

export interface Upstream {
  /**
   * A connection that can take a request now; with `fresh`, one that was not idle before. Rejects with `unavailable`
   * where there is no connecting, `permission-denied` where the server is not who it must be, `resource-exhausted`.
   */
  acquire(fresh: boolean): UpstreamConnection | Promise<UpstreamConnection>;
  close(): void;
}
