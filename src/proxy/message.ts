/** One HTTP exchange, whatever the versions on its two sides. */
import type { Socket } from "node:net";
import type { NormalizedPath } from "../render/decide/normalize-path.ts";

/** Name, value, name, value, in the order of the wire; names in lower case, values as bytes in a string. */
export type HeaderList = readonly string[];

export const NO_HEADERS: HeaderList = [];

/** A request that has passed every check and carries only what is meant for the application. */
export interface RequestHead {
  readonly method: string;
  /** Of HTTP, as the client speaks it. */
  readonly version?: "1.1" | "2";
  /** Host or :authority, as sent. */
  readonly authority: string;
  readonly path: NormalizedPath;
  /** Without Host, and without what belongs to one connection. */
  readonly headers: HeaderList;
  /** Undefined where the length is not known beforehand; 0 where there is no body. */
  readonly bodyLength: number | undefined;
  /** The client wants to speak WebSocket after this request. */
  readonly webSocket: boolean;
  /** The client waits for leave to send the body. */
  readonly expectsContinue: boolean;
}

export interface ResponseHead {
  readonly status: number;
  readonly headers: HeaderList;
  readonly hasBody: boolean;
  readonly mayHaveTrailers: boolean;
}

/** The client's side of an exchange: where the response goes. */
export interface Responder {
  head(response: ResponseHead): void;
  /** False: wait for `onDrain` of the exchange. */
  data(chunk: Buffer): boolean;
  end(trailers: HeaderList): void;
  /** Breaks off a response whose head is sent. */
  abort(): void;
  /** Tells the client to go on and send the body (RFC 9110 §10.1.1). */
  continue(): void;
}

/** Both sides of an upgraded connection are raw. */
export interface Upgraded {
  /** Paused. */
  readonly socket: Socket;
  /** What the endpoint sent after its answer. */
  readonly first: Buffer | undefined;
}

/** Why an endpoint gave no whole response. */
export interface UpstreamFailure {
  readonly reason: string;
  /** Nothing of the request was processed for sure, or nothing came back on a connection that had been idle. */
  readonly mayRetry: boolean;
}

/** What an exchange hears from the endpoint's side. */
export interface ResponseSink {
  onHead(response: ResponseHead): void;
  /** After a head with status 101. */
  onUpgrade(upgraded: Upgraded): void;
  /** False: no more until `resume` of the request. */
  onData(chunk: Buffer): boolean;
  onEnd(trailers: HeaderList): void;
  onFailure(failure: UpstreamFailure): void;
  /** More of the request's body may be written. */
  onWritable(): void;
}

/** A request on its way to an endpoint. */
export interface UpstreamRequest {
  /** A piece of the body. False: wait for `onWritable`. */
  write(chunk: Buffer): boolean;
  end(trailers: HeaderList): void;
  /** After `onData` was false. */
  resume(): void;
  /** The client is gone: nothing more is heard. */
  abort(): void;
}

/** A connection to an endpoint that can take a request now. */
export interface UpstreamConnection {
  send(head: RequestHead, sink: ResponseSink): UpstreamRequest;
  /** Gives it back unused. */
  release(): void;
}
