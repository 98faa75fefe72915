/** One stream of the Workload API: the newest state at once, and again whenever it changes. */
import type { ServerWritableStream } from "@grpc/grpc-js";
import type { AppError } from "../core/error.ts";
import { toGrpcStatus } from "../rpc/status.ts";
import type { Timers } from "./timers.ts";

/** What a stream tells of. */
export interface Updates {
  /** What its message is and how it is made; undefined while there is nothing to tell. */
  readonly current: () => { readonly version: string; readonly encode: () => Buffer } | undefined;
  readonly subscribe: (listener: () => void) => () => void;
  /** Why there is nothing, for a client that has waited long enough. */
  readonly nothing: () => AppError;
}

/** After this a client is told that there is nothing yet; clients come back by themselves. */
const FIRST_MS = 10_000;

/** Serves the stream until either side ends it; resolves then. */
export function serveUpdates(call: ServerWritableStream<unknown, Buffer>, updates: Updates, timers: Timers): Promise<void> {
  let sent: string | undefined;
  // While the client does not read nothing is queued: when it does, it gets the newest.
  const push = () => {
    if (call.writableNeedDrain || call.writableEnded || call.destroyed) return;
    const newest = updates.current();
    if (newest === undefined || newest.version === sent) return;
    sent = newest.version;
    cancel();
    call.write(newest.encode());
  };
  const cancel = timers.after(FIRST_MS, () => {
    if (sent === undefined) endStream(call, updates.nothing());
  });
  const unsubscribe = updates.subscribe(push);
  call.on("drain", push);
  push();
  const { promise, resolve } = Promise.withResolvers<void>();
  for (const event of ["error", "close", "cancelled", "finish"]) call.on(event, resolve);
  return promise.finally(() => {
    cancel();
    unsubscribe();
  });
}

/** Ends a stream with a status. */
export function endStream(call: ServerWritableStream<unknown, Buffer>, error: AppError): void {
  call.emit("error", toGrpcStatus(error));
}
