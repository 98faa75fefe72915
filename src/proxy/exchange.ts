/** One request on its way through: body up, response down, with backpressure, trailers and aborts in both directions. */
import type { Readable } from "node:stream";
import { AppError } from "../core/error.ts";
import { withoutNames } from "./headers.ts";
import { replyLocally } from "./local-reply.ts";
import {
  type HeaderList,
  NO_HEADERS,
  type RequestHead,
  type Responder,
  type ResponseHead,
  type ResponseSink,
  type Upgraded,
  type UpstreamConnection,
  type UpstreamFailure,
  type UpstreamRequest,
} from "./message.ts";
import type { Tunnel } from "./tunnel.ts";
import type { Upstream } from "./upstream.ts";

/** The client's side, as its version of HTTP gives it. */
export interface Downstream extends Responder {
  readonly body: Readable;
  /** The client is gone: nothing can be sent any more. */
  readonly closed: boolean;
  /** Once the body has ended. */
  trailers(): HeaderList;
  /** Before the head: the connection ends with this response, since nobody can tell what follows. */
  last(): void;
  /** Lets the exchange hear of the client's `onDrain` and `onClosed`. */
  attach(exchange: Exchange): void;
  /** Only for requests that asked for it: answers 101 and joins both sides. */
  upgrade(headers: HeaderList, upgraded: Upgraded): Tunnel;
}

/** What is known of an exchange when it is over. */
export interface Outcome {
  /** As sent to the client; 0 where nothing was. */
  readonly status: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Why the endpoint gave no whole response; undefined where it did. */
  readonly failure: AppError | undefined;
  /** What goes on after status 101. */
  readonly tunnel: Tunnel | undefined;
}

/** RFC 9110 §9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

/** Envoy's words. */
const NO_RESPONSE = "upstream connect error or disconnect/reset before headers. reset reason: ";

export class Exchange implements ResponseSink {
  readonly #head: RequestHead;
  readonly #downstream: Downstream;
  readonly #upstream: Upstream;
  readonly #onDone: (outcome: Outcome) => void;
  /** Names of response headers that the endpoint may not write, in lower case. */
  readonly #withheld: readonly string[];
  #request: UpstreamRequest | undefined;
  #upgradeHeaders: HeaderList | undefined;
  #status = 0;
  #bytesReceived = 0;
  #bytesSent = 0;
  #retried = false;
  #done = false;

  constructor(
    head: RequestHead,
    downstream: Downstream,
    upstream: Upstream,
    onDone: (outcome: Outcome) => void,
    withheld: readonly string[] = [],
  ) {
    this.#head = head;
    this.#downstream = downstream;
    this.#upstream = upstream;
    this.#onDone = onDone;
    this.#withheld = withheld;
  }

  /** Sends the request to the endpoint. */
  start(): void {
    this.#downstream.attach(this);
    // The proxy answers for the endpoint, as Envoy does: the body is streamed anyway.
    if (this.#head.expectsContinue) this.#downstream.continue();
    this.#acquire(false);
  }

  // === the client's side ===

  /** The client takes more of the response. */
  onDrain(): void {
    this.#request?.resume();
  }

  /** The client is gone; after the end of the response that is nothing new. */
  onClosed(): void {
    if (this.#done) return;
    this.#request?.abort();
    this.#finish(undefined);
  }

  // === the endpoint's side ===

  onHead(given: ResponseHead): void {
    const response = this.#withheld.length === 0 ? given : { ...given, headers: withoutNames(given.headers, this.#withheld) };
    this.#status = response.status;
    try {
      if (response.status !== 101) this.#downstream.head(response);
      else if (this.#head.webSocket) this.#upgradeHeaders = response.headers;
      else throw new AppError("unavailable", "the endpoint answered with an upgrade that was not asked for");
    } catch (thrown) {
      // A head that the client's side cannot say; how much of it was said is not known.
      this.#request?.abort();
      this.#fail(AppError.from(thrown));
    }
  }

  onUpgrade(upgraded: Upgraded): void {
    this.#finish(undefined, this.#downstream.upgrade(this.#upgradeHeaders ?? NO_HEADERS, upgraded));
  }

  onData(chunk: Buffer): boolean {
    this.#bytesSent += chunk.length;
    return this.#downstream.data(chunk);
  }

  onEnd(trailers: HeaderList): void {
    this.#downstream.end(trailers);
    this.#finish(undefined);
  }

  onFailure(failure: UpstreamFailure): void {
    if (this.#done) return;
    this.#request = undefined;
    // Nothing came back on a connection that the endpoint may have closed as idle: once more, where doing it twice does no harm.
    if (failure.mayRetry && !this.#retried && this.#head.bodyLength === 0 && IDEMPOTENT.has(this.#head.method)) {
      this.#retried = true;
      this.#acquire(true);
      return;
    }
    this.#fail(new AppError("unavailable", failure.reason));
  }

  onWritable(): void {
    this.#downstream.body.resume();
  }

  // === in between ===

  #acquire(fresh: boolean): void {
    const connection = this.#upstream.acquire(fresh);
    if (connection instanceof Promise) {
      connection.then(
        (opened) => this.#send(opened),
        (thrown: unknown) => this.#fail(AppError.from(thrown)),
      );
    } else this.#send(connection);
  }

  #send(connection: UpstreamConnection): void {
    if (this.#done) {
      connection.release();
      return;
    }
    try {
      this.#request = connection.send(this.#head, this);
    } catch (thrown) {
      this.#fail(AppError.from(thrown));
      return;
    }
    if (this.#head.bodyLength !== 0) this.#pump(this.#downstream.body);
  }

  #pump(body: Readable): void {
    body.on("data", (chunk: Buffer) => {
      this.#bytesReceived += chunk.length;
      if (this.#request?.write(chunk) === false) body.pause();
    });
    body.on("end", () => {
      // A stream of HTTP/2 that was reset ends like one that was whole.
      if (this.#downstream.closed) this.onClosed();
      else this.#request?.end(this.#downstream.trailers());
    });
    body.on("error", () => this.onClosed());
  }

  #fail(error: AppError): void {
    if (this.#done) return;
    if (this.#status !== 0) this.#downstream.abort();
    else this.#status = replyLocally(this.#downstream, 503, NO_RESPONSE + error.message, this.#head.headers);
    this.#finish(error);
  }

  #finish(failure: AppError | undefined, tunnel?: Tunnel): void {
    this.#done = true;
    this.#request = undefined;
    this.#onDone({ status: this.#status, bytesReceived: this.#bytesReceived, bytesSent: this.#bytesSent, failure, tunnel });
  }
}
