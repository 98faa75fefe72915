/** A service of unary calls behind a queue. */
import type { handleUnaryCall, ServerUnaryCall, sendUnaryData, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { steady } from "../core/steady.ts";
import type { CallQueue } from "./call-queue.ts";
import { peerCertificateOf } from "./peer-certificate.ts";
import { networkOf } from "./peer-network.ts";
import { toGrpcStatus } from "./status.ts";

type Call = ServerUnaryCall<unknown, unknown>;
type Handler = handleUnaryCall<unknown, unknown>;

const TELL_EVERY_MS = 10_000;

/** Of `ADDRESS:PORT`, or `[ADDRESS]:PORT`. */
const addressOf = (peer: string): string => peer.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");

/**
 * Who calls, as far as that is known before anything is asked: the names in the certificate that the handshake has verified, else where
 * the connection comes from. Many that share an address share its turn.
 */
function callerKey(call: Pick<Call, "getAuthContext" | "getPeer">): string {
  const names = peerCertificateOf(call)?.subjectaltname;
  return names === undefined ? `peer ${networkOf(addressOf(call.getPeer()))}` : `certificate ${names}`;
}

/** Runs a handler in a turn of its caller. */
function queued(queue: CallQueue, handler: Handler, onRefused: (caller: string) => void): Handler {
  return (call: Call, callback: sendUnaryData<unknown>) => {
    const caller = callerKey(call);
    const work = () =>
      new Promise<void>((resolve) =>
        handler(call, (...answer) => {
          callback(...answer);
          resolve();
        }),
      );
    queue
      .run(caller, work, () => call.cancelled)
      .catch((thrown: unknown) => {
        const error = AppError.from(thrown);
        if (error.code === "resource-exhausted") onRefused(caller);
        callback(toGrpcStatus(error));
      });
  };
}

/** The handlers of a service of unary calls, each call in its turn. `onRefused` is told who was sent away. */
export function queuedService(
  queue: CallQueue,
  handlers: UntypedServiceImplementation,
  onRefused: (caller: string) => void,
): UntypedServiceImplementation {
  const entries = Object.entries(handlers).map(([name, handler]) => [name, queued(queue, handler as Handler, onRefused)] as const);
  return Object.fromEntries(entries);
}

/** Tells of callers that were sent away, at most every 10 s. */
export function throttledBusy(queue: CallQueue, clock: Clock, logger: Logger): (caller: string) => void {
  const { now } = steady(clock);
  let told = Number.NEGATIVE_INFINITY;
  return (caller) => {
    if (now() - told < TELL_EVERY_MS) return;
    told = now();
    logger.log("warn", "busy: callers of the certificate service are told to come back later", { ...queue.status, last: caller });
  };
}
