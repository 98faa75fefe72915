/** Looks at a connection's first bytes without taking them. */
import type { Socket } from "node:net";

/** RFC 9113 §3.4, as far as it takes to tell it from any HTTP/1.1 request. */
const HTTP2_PREFACE = "PRI * HTTP/2.0\r\n";
/** RFC 8446 §5.1: the content type of a handshake record. */
const TLS_HANDSHAKE = 0x16;

/** What the first bytes say; undefined: more of them are needed. */
export type Verdict<T> = (first: Buffer) => T | undefined;

export const isTls: Verdict<boolean> = (first) => first[0] === TLS_HANDSHAKE;

export const httpVersion: Verdict<"1.1" | "2"> = (first) => {
  const text = first.toString("latin1", 0, HTTP2_PREFACE.length);
  if (!HTTP2_PREFACE.startsWith(text)) return "1.1";
  return text.length === HTTP2_PREFACE.length ? "2" : undefined;
};

/**
 * Reads until `judge` has a verdict, puts everything back, and answers it with the socket paused. Undefined: the
 * connection ended, failed or was silent for `timeoutMs` before there was one.
 */
export function sniff<T>(socket: Socket, judge: Verdict<T>, timeoutMs: number): Promise<T | undefined> {
  return new Promise((resolve) => {
    let seen: Buffer = Buffer.alloc(0);
    const finish = (verdict: T | undefined) => {
      clearTimeout(timer);
      socket.off("data", read).off("end", stop).off("close", stop);
      socket.pause();
      if (seen.length > 0) socket.unshift(seen);
      resolve(verdict);
    };
    const stop = () => finish(undefined);
    const read = (chunk: Buffer) => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
      const verdict = judge(seen);
      if (verdict !== undefined) finish(verdict);
    };
    const timer = setTimeout(stop, timeoutMs);
    socket.on("data", read).on("end", stop).on("close", stop).resume();
  });
}
