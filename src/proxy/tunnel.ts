/** Bytes in both directions between two sockets, with half-close and backpressure, until both sides have ended. */
import type { Duplex } from "node:stream";

export interface TunnelEnd {
  /** From the client, and to it. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

/** An open tunnel. */
export interface Tunnel {
  /** Cuts it in both directions at once. */
  cut(): void;
  /** Resolves when both sides are closed; never rejects. */
  readonly closed: Promise<TunnelEnd>;
}

interface TunnelSocket extends Duplex {
  setTimeout(milliseconds: number, callback: () => void): this;
}

/** Carries what `from` sends to `to`; `count` hears of each piece. */
function carry(from: Duplex, to: Duplex, count: (bytes: number) => void): void {
  from.on("data", (chunk: Buffer) => {
    count(chunk.length);
    if (!to.write(chunk)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => to.end());
}

/**
 * Joins a client and an endpoint. `early` is what the client has already sent, `first` what the endpoint has. An error
 * or the idle time on either side ends both.
 */
export function tunnel(client: TunnelSocket, endpoint: TunnelSocket, idleMs: number, early?: Buffer, first?: Buffer): Tunnel {
  const { promise: closed, resolve } = Promise.withResolvers<TunnelEnd>();
  let bytesReceived = early?.length ?? 0;
  let bytesSent = first?.length ?? 0;
  let open = 2;
  const cut = () => {
    client.destroy();
    endpoint.destroy();
  };
  const oneClosed = (socket: Duplex, other: Duplex) => {
    // Destroyed before it had ended in order: there is nothing to wait for on the other side.
    if (socket.errored !== null || !socket.readableEnded) other.destroy();
    open -= 1;
    if (open === 0) resolve({ bytesReceived, bytesSent });
  };
  for (const [socket, other] of [
    [client, endpoint],
    [endpoint, client],
  ] as const) {
    socket.on("error", cut);
    // One that closed while the other was still connected to tells of it no more.
    if (socket.closed) oneClosed(socket, other);
    else socket.on("close", () => oneClosed(socket, other));
    socket.setTimeout(idleMs, cut);
  }
  if (early !== undefined && early.length > 0) endpoint.write(early);
  if (first !== undefined && first.length > 0) client.write(first);
  carry(client, endpoint, (bytes) => {
    bytesReceived += bytes;
  });
  carry(endpoint, client, (bytes) => {
    bytesSent += bytes;
  });
  client.resume();
  endpoint.resume();
  if (client.destroyed || endpoint.destroyed) cut();
  return { cut, closed };
}
