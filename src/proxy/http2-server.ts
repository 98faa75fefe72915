/** HTTP/2 from clients, by Node's nghttp2. */
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { AppError } from "../core/error.ts";
import type { Downstream, Exchange } from "./exchange.ts";
import { sanitizeTrailers, valuesOf, withoutNames } from "./headers.ts";
import type { HttpServerOptions } from "./http1-server.ts";
import { endWithPeer, whenIdle } from "./http2-connection.ts";
import { AS_THEY_CAME, sendTrailers } from "./http2-trailers.ts";
import { type HeaderList, NO_HEADERS, type ResponseHead } from "./message.ts";
import type { RawRequest } from "./request-check.ts";
import type { Tunnel } from "./tunnel.ts";

const { NGHTTP2_FLAG_END_STREAM, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR } = constants;

class Http2Downstream implements Downstream {
  readonly body: Readable;
  readonly #stream: ServerHttp2Stream;
  #requestTrailers: HeaderList = NO_HEADERS;
  /** The request was whole with its header. */
  readonly #requestEnded: boolean;
  /** The response was whole with its header. */
  #ended = false;

  constructor(stream: ServerHttp2Stream, requestEnded: boolean) {
    this.body = stream;
    this.#requestEnded = requestEnded;
    this.#stream = stream;
    stream.on("error", () => undefined);
    stream.on("trailers", (_headers, _flags, raw: string[]) => {
      this.#requestTrailers = sanitizeTrailers(raw);
    });
  }

  get closed(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  attach(exchange: Exchange): void {
    this.#stream.on("drain", () => exchange.onDrain());
    this.#stream.on("close", () => exchange.onClosed());
  }

  trailers(): HeaderList {
    return this.#requestTrailers;
  }

  head({ status, headers, hasBody, mayHaveTrailers }: ResponseHead): void {
    if (this.#stream.destroyed || this.#stream.closed) return;
    // A client that is answered need not send the rest of its body (RFC 9113 §8.1), which is told behind the last frame.
    if (!this.#requestEnded) {
      this.#stream.once("finish", () => {
        if (!this.#stream.readableEnded) this.#stream.close(NGHTTP2_NO_ERROR);
      });
    }
    this.#ended = !hasBody && this.#requestEnded;
    this.#stream.respond([":status", String(status), ...headers], { endStream: this.#ended, waitForTrailers: hasBody && mayHaveTrailers });
  }

  /** One bad request says nothing about the other streams. */
  last(): void {}

  data(chunk: Buffer): boolean {
    return this.#stream.destroyed || this.#stream.write(chunk);
  }

  end(trailers: HeaderList): void {
    if (this.#ended || this.#stream.destroyed) return;
    this.#ended = true;
    this.#stream.once("wantTrailers", () => sendTrailers(this.#stream, trailers));
    this.#stream.end();
  }

  abort(): void {
    this.#stream.close(NGHTTP2_INTERNAL_ERROR);
  }

  continue(): void {
    if (!this.#stream.destroyed && !this.#stream.closed) this.#stream.additionalHeaders({ ":status": 100 });
  }

  upgrade(): Tunnel {
    throw new TypeError("HTTP/2 has no upgrade");
  }
}

function split(raw: readonly string[]): { readonly pseudo: ReadonlyMap<string, string>; readonly headers: readonly string[] } {
  const pseudo = new Map<string, string>();
  let start = 0;
  for (; raw[start]?.startsWith(":") === true; start += 2) pseudo.set(raw[start] ?? "", raw[start + 1] ?? "");
  return { pseudo, headers: raw.slice(start) };
}

const SPACE: ReadonlySet<string> = new Set([" ", "\t"]);

/** A value without the spaces around it, which are no part of it (RFC 9110 §5.5) and have no place in HTTP/2 (RFC 9113 §8.2.1). */
function trimmed(value: string): string {
  let [start, end] = [0, value.length];
  while (start < end && SPACE.has(value.charAt(start))) start += 1;
  while (end > start && SPACE.has(value.charAt(end - 1))) end -= 1;
  return value.slice(start, end);
}

/** Cookies that come in several fields are one (RFC 9113 §8.2.3): for rules, and for an application of HTTP/1.1. */
function withOneCookie(headers: readonly string[]): readonly string[] {
  const cookies = valuesOf(headers, "cookie");
  if (cookies.length < 2) return headers;
  return [...withoutNames(headers, ["cookie"]), "cookie", cookies.join("; ")];
}

function toRaw(rawHeaders: readonly string[], ended: boolean, scheme: "http" | "https"): RawRequest {
  const { pseudo, headers } = split(rawHeaders);
  return {
    version: "2",
    method: pseudo.get(":method") ?? "",
    target: pseudo.get(":path") ?? "",
    authority: pseudo.get(":authority"),
    scheme,
    headers: withOneCookie(headers.map((text, index) => (index % 2 === 0 ? text : trimmed(text)))),
    ended,
    webSocket: false,
  };
}

/** Serves one connection from its preface on; what was read of it has been put back. */
export function serveHttp2<Connection>(
  socket: Socket,
  connection: Connection,
  scheme: "http" | "https",
  { limits, handle, onMalformed }: HttpServerOptions<Connection>,
): ServerHttp2Session {
  endWithPeer(socket);
  const session = performServerHandshake(socket, {
    settings: { maxConcurrentStreams: limits.streams, maxHeaderListSize: limits.headBytes, enablePush: false },
    maxHeaderListPairs: limits.headers + 8,
    maxSendHeaderBlockLength: 2 * limits.headBytes,
    streamResetBurst: limits.resetBurst,
    streamResetRate: limits.resetRate,
    maxOutstandingPings: 4,
    maxSettings: 16,
    // Node would leave such a header out without a word.
    strictFieldWhitespaceValidation: false,
    ...AS_THEY_CAME,
  });
  session.on("stream", (stream, _headers, flags, raw: string[]) => {
    const ended = (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
    try {
      handle(toRaw(raw, ended, scheme), new Http2Downstream(stream, ended), connection);
    } catch (thrown) {
      // Whatever it is, it ends this stream and not the proxy.
      onMalformed(AppError.from(thrown).message, 0, connection);
      stream.close(NGHTTP2_INTERNAL_ERROR);
    }
  });
  session.on("error", (error: Error & { readonly code?: string }) => {
    if (error.code !== "ECONNRESET") onMalformed(error.message, 0, connection);
  });
  whenIdle(session, socket, limits.idleMs, () => session.destroy());
  return session;
}
