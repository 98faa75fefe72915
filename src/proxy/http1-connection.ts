/** One HTTP/1.1 connection to an endpoint, for one request at a time. */
import type { Socket } from "node:net";
import { AppError } from "../core/error.ts";
import { sanitizeResponse } from "./headers.ts";
import type { HeaderList, RequestHead, ResponseSink, UpstreamConnection, UpstreamRequest } from "./message.ts";
import { type ParsedHead, type ResponseHandler, ResponseParser } from "./response-parser.ts";

/** The pool that a connection belongs to. */
export interface ConnectionOwner {
  /** It can take another request; `idleMs` is how long the endpoint keeps it, where it said so. */
  onIdle(connection: Http1Connection, idleMs: number | undefined): void;
  onClosed(connection: Http1Connection): void;
}

const CHUNKED_END = "0\r\n\r\n";
const KEEP_ALIVE_SECONDS = /(?:^|[,;\s])timeout=(\d{1,6})/i;

/** The head as bytes in a string. Whatever parser it came through, a line break in a value must not start a line here. */
function formatHead(head: RequestHead): string {
  const { method, path, authority, headers, bodyLength, webSocket } = head;
  let text = `${method} ${path.path}${path.query} HTTP/1.1\r\nhost: ${authority}\r\n`;
  for (let index = 0; index < headers.length; index += 2) {
    const value = headers[index + 1] ?? "";
    if (value.includes("\n") || value.includes("\r")) throw new AppError("invalid-argument", "a header value has a line break");
    text += `${headers[index]}: ${value}\r\n`;
  }
  if (webSocket) return `${text}connection: upgrade\r\nupgrade: websocket\r\n\r\n`;
  if (bodyLength === undefined) return `${text}transfer-encoding: chunked\r\n\r\n`;
  // A length of zero is told where the method means content (RFC 9110 §8.6).
  return bodyLength > 0 || method === "POST" || method === "PUT" || method === "PATCH"
    ? `${text}content-length: ${bodyLength}\r\n\r\n`
    : `${text}\r\n`;
}

export class Http1Connection implements UpstreamConnection, UpstreamRequest, ResponseHandler {
  readonly #socket: Socket;
  readonly #owner: ConnectionOwner;
  readonly #parser: ResponseParser;
  #sink: ResponseSink | undefined;
  #requests = 0;
  #answered = false;
  /** The request is wholly written, the response wholly read. */
  #sent = false;
  #received = false;
  #trailers: HeaderList = [];
  #chunked = false;
  #bodyLeft = 0;
  #idleMs: number | undefined;
  /** Until the socket is detached. */
  readonly #listeners = {
    data: (chunk: Buffer) => this.#read(chunk),
    drain: () => this.#sink?.onWritable(),
    end: () => this.#readEnd(),
    error: (error: Error) => this.#broken(error.message),
  };

  constructor(socket: Socket, owner: ConnectionOwner, maxHeadBytes: number) {
    this.#socket = socket;
    this.#owner = owner;
    this.#parser = new ResponseParser(this, maxHeadBytes);
    for (const [event, listener] of Object.entries(this.#listeners)) socket.on(event, listener);
    socket.on("close", () => {
      this.#broken("connection closed");
      owner.onClosed(this);
    });
  }

  /** When it last became idle, for the pool (ms). */
  idleUntil = 0;

  // === UpstreamConnection ===

  send(head: RequestHead, sink: ResponseSink): UpstreamRequest {
    const text = this.#format(head);
    this.#sink = sink;
    this.#requests += 1;
    this.#answered = false;
    this.#received = false;
    this.#sent = head.bodyLength === 0;
    this.#chunked = head.bodyLength === undefined;
    this.#bodyLeft = head.bodyLength ?? 0;
    this.#parser.begin(head.method, head.webSocket);
    this.#socket.write(text, "latin1");
    return this;
  }

  release(): void {
    this.#owner.onIdle(this, this.#idleMs);
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Nobody gives back a connection whose request could not be written. */
  #format(head: RequestHead): string {
    try {
      return formatHead(head);
    } catch (thrown) {
      this.#socket.destroy();
      throw thrown;
    }
  }

  // === UpstreamRequest ===

  write(chunk: Buffer): boolean {
    if (!this.#chunked) {
      this.#bodyLeft -= chunk.length;
      if (this.#bodyLeft >= 0) return this.#socket.write(chunk);
      // More than was announced would be read as the next request.
      this.#broken("the request's body is longer than announced");
      this.#socket.destroy();
      return true;
    }
    this.#socket.cork();
    this.#socket.write(`${chunk.length.toString(16)}\r\n`, "latin1");
    this.#socket.write(chunk);
    const more = this.#socket.write("\r\n", "latin1");
    this.#socket.uncork();
    return more;
  }

  end(trailers: HeaderList): void {
    if (this.#sent) return;
    if (!this.#chunked && this.#bodyLeft > 0) {
      this.#broken("the request's body is shorter than announced");
      this.#socket.destroy();
      return;
    }
    this.#sent = true;
    if (this.#chunked) this.#socket.write(formatLastChunk(trailers), "latin1");
    this.#settle(true);
  }

  resume(): void {
    this.#socket.resume();
  }

  abort(): void {
    this.#sink = undefined;
    this.#socket.destroy();
  }

  // === ResponseHandler ===

  onHead(head: ParsedHead): void {
    const keepAlive = head.headers.indexOf("keep-alive");
    this.#idleMs = undefined;
    if (keepAlive >= 0 && keepAlive % 2 === 0) {
      const seconds = KEEP_ALIVE_SECONDS.exec(head.headers[keepAlive + 1] ?? "")?.[1];
      // A second less, so that it is not used in the moment in which the endpoint closes it.
      if (seconds !== undefined) this.#idleMs = (Number(seconds) - 1) * 1000;
    }
    const headers = sanitizeResponse(head.headers);
    this.#sink?.onHead({ status: head.status, headers, hasBody: head.hasBody, mayHaveTrailers: head.chunked });
  }

  onBody(chunk: Buffer): void {
    if (this.#sink?.onData(chunk) === false) this.#socket.pause();
  }

  onMessageEnd(trailers: HeaderList): void {
    this.#received = true;
    this.#trailers = trailers;
  }

  // === the socket ===

  #read(chunk: Buffer): void {
    this.#answered = true;
    try {
      const rest = this.#parser.execute(chunk);
      if (this.#parser.upgraded) this.#detach(rest);
      else if (this.#received) this.#settle(rest === undefined);
      // Bytes that answer no request would be read as the answer to the next one.
      if (rest !== undefined && !this.#parser.upgraded) this.#socket.destroy();
    } catch (thrown) {
      this.#broken(AppError.from(thrown).message);
      this.#socket.destroy();
    }
  }

  /** Takes the socket away from HTTP after the endpoint answered 101. */
  #detach(first: Buffer | undefined): void {
    const sink = this.#sink;
    this.#sink = undefined;
    for (const [event, listener] of Object.entries(this.#listeners)) this.#socket.off(event, listener);
    this.#socket.pause();
    sink?.onUpgrade({ socket: this.#socket, first });
  }

  #readEnd(): void {
    const whole = this.#parser.finish();
    if (whole && this.#received) this.#settle(false);
    this.#socket.destroy();
  }

  /** Ends the exchange when the response is whole; the connection is kept only if the request is whole as well, and nothing follows. */
  #settle(reusable: boolean): void {
    const sink = this.#sink;
    if (!this.#received || sink === undefined) return;
    this.#sink = undefined;
    this.#socket.resume();
    if (reusable && this.#sent && this.#parser.persistent && !this.#socket.destroyed) this.#owner.onIdle(this, this.#idleMs);
    else this.#socket.destroy();
    sink.onEnd(this.#trailers);
  }

  #broken(reason: string): void {
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.onFailure({ reason, mayRetry: this.#requests > 1 && !this.#answered });
  }
}

function formatLastChunk(trailers: HeaderList): string {
  if (trailers.length === 0) return CHUNKED_END;
  let text = "0\r\n";
  for (let index = 0; index < trailers.length; index += 2) text += `${trailers[index]}: ${trailers[index + 1]}\r\n`;
  return `${text}\r\n`;
}
