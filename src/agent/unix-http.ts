/** One HTTP request over a Unix socket: the agent's own, and the proxies' admin and readiness sockets. */

import { AppError } from "../core/error.ts";
import { request } from "./node-http.ts";

/** Envoy's statistics are the longest answer. */
const MAX_BODY_BYTES = 4 * 1024 * 1024;

export interface UnixRequest {
  readonly socket: string;
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly timeoutMs: number;
}

export interface UnixResponse {
  readonly status: number;
  readonly body: string;
}

/** Sends the request without a body and reads the whole answer. Throws `unavailable`, `deadline-exceeded`, `resource-exhausted`. */
export function requestOverSocket({ socket, method, path, timeoutMs }: UnixRequest): Promise<UnixResponse> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const failed = (cause: unknown) =>
      reject(
        signal.aborted
          ? new AppError("deadline-exceeded", `no answer from \`${socket}\` within ${timeoutMs} ms`, { cause })
          : new AppError("unavailable", `\`${socket}\` cannot be reached`, { cause }),
      );
    const outgoing = request(
      { socketPath: socket, method, path, signal, agent: false, headers: { host: "localhost", "content-length": 0 } },
      (incoming) => {
        const chunks: Buffer[] = [];
        let length = 0;
        incoming.on("data", (chunk: Buffer) => {
          length += chunk.length;
          chunks.push(chunk);
          if (length <= MAX_BODY_BYTES) return;
          outgoing.destroy();
          reject(new AppError("resource-exhausted", `the answer from \`${socket}\` is longer than ${MAX_BODY_BYTES} bytes`));
        });
        incoming.on("end", () => resolve({ status: incoming.statusCode ?? 0, body: Buffer.concat(chunks).toString("utf8") }));
        incoming.on("error", failed);
      },
    );
    outgoing.on("error", failed);
    outgoing.end();
  });
}
