/**
 * Bounds on calls before anybody knows what they are. Whoever may connect, also without a certificate, may open calls; gRPC waits for their
 * requests, and HTTP/2 for the end of a call that was answered, for as long as the connection lives.
 */
import { constants, type ServerHttp2Stream } from "node:http2";
import { type ServerInterceptingCall, type ServerInterceptor, type ServerOptions, status } from "@grpc/grpc-js";

export interface CallBoundsOptions {
  /** Of one connection, at one time; a client of more waits, or is refused (Node tells it to calm down) and comes again. */
  readonly calls?: number;
  /** Milliseconds until the one request of a call has come. */
  readonly requestMs?: number;
  /** Milliseconds that a client has to end its own side of a call that was answered. */
  readonly lingerMs?: number;
}

/** An Envoy has one for each of its threads and logs, and a node proxy one for each workload that waits for a certificate. */
const CALLS = 1_000;
/** Agents give up after 10 s. */
const REQUEST_MS = 30_000;
const LINGER_MS = 10_000;

/** What a call of grpc-js holds, which its types hide. */
interface Inside {
  readonly stream?: ServerHttp2Stream;
}

/** Runs unless the stream is closed, or `event` comes, before. */
function unless(stream: ServerHttp2Stream, event: "end" | "close", milliseconds: number, run: () => void): void {
  const timer = setTimeout(run, milliseconds).unref();
  for (const each of ["close", event]) stream.once(each, () => clearTimeout(timer));
}

/** Options of a gRPC server. Streams of requests have deadlines of their own for the first: their services know how long it may take. */
export function callBounds({ calls = CALLS, requestMs = REQUEST_MS, lingerMs = LINGER_MS }: CallBoundsOptions = {}): ServerOptions {
  const bound: ServerInterceptor = ({ requestStream }, call) => {
    const { stream } = call as Inside;
    if (stream !== undefined && !requestStream)
      unless(stream, "end", requestMs, () =>
        call.sendStatus({ code: status.DEADLINE_EXCEEDED, details: `the request did not come within ${requestMs} ms` }),
      );
    stream?.once("finish", () => unless(stream, "close", lingerMs, () => stream.close(constants.NGHTTP2_NO_ERROR)));
    // Itself: another one around it would take every message into its hands.
    return call as ServerInterceptingCall;
  };
  return { "grpc.max_concurrent_streams": calls, interceptors: [bound] };
}
