/** What both sides' HTTP/2 connections have in common: how they end by themselves. */
import type { Http2Session } from "node:http2";
import type { Socket } from "node:net";

/** How many times it is looked whether anything has moved before a connection counts as idle. */
const LOOKS = 4;

/**
 * Calls `end` for a session on whose socket nothing has moved for `idleMs`, or up to a quarter longer. The timer of the session itself would
 * outlive it: Node does not take it back from one that is destroyed, and all that the session holds would stay for that time.
 */
export function whenIdle(session: Http2Session, socket: Socket, idleMs: number, end: () => void): void {
  let [moved, quiet] = [-1, 0];
  const timer = setInterval(() => {
    const now = socket.bytesRead + socket.bytesWritten;
    quiet = now === moved ? quiet + 1 : 0;
    moved = now;
    if (quiet >= LOOKS) end();
  }, idleMs / LOOKS).unref();
  session.once("close", () => clearInterval(timer));
}

/** A peer that ends its side of the socket is gone: HTTP/2 has no half of a connection, and its session does not look for that. */
export function endWithPeer(socket: Socket): void {
  socket.allowHalfOpen = false;
}
