/** One HTTP/2 connection to an endpoint, shared by all requests to it. */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import type { Socket } from "node:net";
import { AppError } from "../core/error.ts";
import { sanitizeResponse, sanitizeTrailers } from "./headers.ts";
import { endWithPeer, whenIdle } from "./http2-connection.ts";
import { AS_THEY_CAME, sendTrailers } from "./http2-trailers.ts";
import type { Limits } from "./limits.ts";
import { NO_HEADERS, type RequestHead, type ResponseSink, type UpstreamConnection, type UpstreamRequest } from "./message.ts";
import type { Upstream } from "./upstream.ts";

const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM, NGHTTP2_FLAG_END_STREAM } = constants;

/** Names and values of a raw list without the pseudo-headers, which stand first. */
function withoutPseudoHeaders(raw: readonly string[]): readonly string[] {
  let start = 0;
  while (raw[start]?.startsWith(":") === true) start += 2;
  return start === 0 ? raw : raw.slice(start);
}

/** A request on one stream. */
class Http2Request implements UpstreamRequest {
  readonly #stream: ClientHttp2Stream;
  readonly #sink: ResponseSink;
  #answered = false;
  #done = false;
  #trailers: readonly string[] = NO_HEADERS;

  constructor(stream: ClientHttp2Stream, sink: ResponseSink) {
    this.#stream = stream;
    this.#sink = sink;
    stream.on("response", (headers, flags, raw: string[]) => {
      this.#answered = true;
      const hasBody = (flags & NGHTTP2_FLAG_END_STREAM) === 0;
      sink.onHead({
        status: headers[":status"] ?? 0,
        headers: sanitizeResponse(withoutPseudoHeaders(raw)),
        hasBody,
        mayHaveTrailers: hasBody,
      });
    });
    stream.on("data", (chunk: Buffer) => {
      if (!sink.onData(chunk)) stream.pause();
    });
    stream.on("trailers", (_headers, _flags, raw: string[]) => {
      this.#trailers = raw;
    });
    stream.on("drain", () => sink.onWritable());
    stream.on("end", () => this.#end());
    stream.on("error", () => undefined);
    stream.on("close", () => this.#broken());
  }

  write(chunk: Buffer): boolean {
    return this.#stream.write(chunk);
  }

  end(trailers: readonly string[]): void {
    if (this.#stream.writableEnded) return;
    this.#stream.once("wantTrailers", () => sendTrailers(this.#stream, trailers));
    this.#stream.end();
  }

  resume(): void {
    this.#stream.resume();
  }

  abort(): void {
    this.#done = true;
    this.#stream.close(NGHTTP2_CANCEL);
  }

  #end(): void {
    if (this.#done || !this.#answered || this.#stream.rstCode !== 0) return;
    this.#done = true;
    this.#sink.onEnd(sanitizeTrailers(this.#trailers));
    // An endpoint that answers before it has the whole request wants no more of it (RFC 9113 §8.1).
    if (!this.#stream.writableEnded) this.#stream.close();
  }

  #broken(): void {
    if (this.#done) return;
    this.#done = true;
    const { rstCode } = this.#stream;
    this.#sink.onFailure({ reason: `stream reset with code ${rstCode}`, mayRetry: rstCode === NGHTTP2_REFUSED_STREAM });
  }
}

class Http2Connection implements UpstreamConnection {
  readonly session: ClientHttp2Session;
  readonly #scheme: string;

  constructor(session: ClientHttp2Session, scheme: string) {
    this.session = session;
    this.#scheme = scheme;
  }

  get usable(): boolean {
    return !this.session.closed && !this.session.destroyed;
  }

  send(head: RequestHead, sink: ResponseSink): UpstreamRequest {
    const pseudo = [
      ":method",
      head.method,
      ":scheme",
      this.#scheme,
      ":authority",
      head.authority,
      ":path",
      head.path.path + head.path.query,
    ];
    const length = head.bodyLength === undefined || head.bodyLength === 0 ? [] : ["content-length", String(head.bodyLength)];
    const endStream = head.bodyLength === 0;
    const stream = this.session.request([...pseudo, ...head.headers, ...length], { endStream, waitForTrailers: !endStream });
    return new Http2Request(stream, sink);
  }

  /** Others use it at the same time. */
  release(): void {}
}

export class Http2Pool implements Upstream {
  readonly #dial: () => Promise<Socket>;
  readonly #scheme: string;
  readonly #limits: Limits;
  #connection: Http2Connection | undefined;
  #opening: Promise<Http2Connection> | undefined;
  #closed = false;

  constructor(dial: () => Promise<Socket>, scheme: "http" | "https", limits: Limits) {
    this.#dial = dial;
    this.#scheme = scheme;
    this.#limits = limits;
  }

  acquire(fresh: boolean): Http2Connection | Promise<Http2Connection> {
    if (!fresh && this.#connection?.usable === true) return this.#connection;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  /** Streams in use may end, and requests that are still to come have connections of their own. */
  close(): void {
    this.#closed = true;
    this.#connection?.session.close();
    this.#connection = undefined;
  }

  async #open(): Promise<Http2Connection> {
    const socket = await this.#dial();
    endWithPeer(socket);
    this.#connection?.session.close();
    const session = connect(`${this.#scheme}://upstream`, {
      createConnection: () => socket,
      settings: { enablePush: false },
      maxHeaderListPairs: 2 * this.#limits.headers,
      ...AS_THEY_CAME,
    });
    session.on("error", () => undefined);
    session.on("goaway", () => session.close());
    whenIdle(session, socket, this.#limits.idleMs, () => session.close());
    if (session.destroyed) throw new AppError("unavailable", "the endpoint closed the connection");
    const connection = new Http2Connection(session, this.#scheme);
    // Those who wait for it have sent their requests by then.
    if (this.#closed) setImmediate(() => session.close());
    else this.#connection = connection;
    return connection;
  }
}
