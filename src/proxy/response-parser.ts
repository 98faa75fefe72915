/**
 * Reads the responses of an HTTP/1.1 endpoint (RFC 9112), strictly: what could be read in two ways is an error and ends
 * the connection, since the next client's response would otherwise be the rest of this one's. Requests come from
 * outside and are read by Node's own parser; this one exists because `http.request` costs half of a proxy's speed.
 */
import { AppError } from "../core/error.ts";
import { sanitizeTrailers, valuesOf } from "./headers.ts";
import { type HeaderList, NO_HEADERS } from "./message.ts";

export interface ParsedHead {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: HeaderList;
  readonly hasBody: boolean;
  readonly chunked: boolean;
}

export interface ResponseHandler {
  onHead(head: ParsedHead): void;
  onBody(chunk: Buffer): void;
  /** The response is whole. */
  onMessageEnd(trailers: HeaderList): void;
}

/** What follows next in the stream of bytes. */
type Phase = "head" | "sized" | "chunk-size" | "chunk-data" | "chunk-end" | "trailers" | "until-close" | "done" | "upgraded";

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const CHUNK_SIZE = /^([0-9a-f]{1,12})[\t ]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/i;
const MAX_CHUNK_LINE = 1024;
const HEAD_END = "\r\n\r\n";
const SWITCHING_PROTOCOLS = 101;

function malformed(what: string): AppError {
  return new AppError("unavailable", `the endpoint's response has ${what}`);
}

function parseFields(lines: readonly string[], from: number): string[] {
  const headers: string[] = [];
  for (let index = from; index < lines.length; index++) {
    const line = lines[index] ?? "";
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (colon < 1 || !NAME.test(name) || !VALUE.test(value)) throw malformed("a malformed header");
    headers.push(name, value);
  }
  return headers;
}

/** The value of a field that must not come twice: on the way, somebody might take the other one. */
function only(headers: HeaderList, name: string): string | undefined {
  const values = valuesOf(headers, name);
  if (values.length > 1) throw malformed(`several fields ${name}`);
  return values[0];
}

export class ResponseParser {
  readonly #handler: ResponseHandler;
  readonly #maxHeadBytes: number;
  #phase: Phase = "done";
  /** What came of a head or a line that is not whole yet. */
  #pending: Buffer | undefined;
  #remaining = 0;
  #method = "";
  #webSocket = false;
  #persistent = true;

  constructor(handler: ResponseHandler, maxHeadBytes: number) {
    this.#handler = handler;
    this.#maxHeadBytes = maxHeadBytes;
  }

  /** Expects the response to a request. */
  begin(method: string, webSocket: boolean): void {
    this.#phase = "head";
    this.#method = method;
    this.#webSocket = webSocket;
  }

  /** Whether the connection can take another request after this response. */
  get persistent(): boolean {
    return this.#persistent;
  }

  /** The endpoint has switched to WebSocket: what follows is no HTTP. */
  get upgraded(): boolean {
    return this.#phase === "upgraded";
  }

  /** Takes bytes. Answers those that belong to no response, which after an upgrade are the new protocol's. Throws `unavailable` for what is malformed. */
  execute(chunk: Buffer): Buffer | undefined {
    let rest: Buffer | undefined = chunk;
    if (this.#pending !== undefined) {
      rest = Buffer.concat([this.#pending, chunk]);
      this.#pending = undefined;
    }
    while (rest !== undefined && rest.length > 0) {
      if (this.#phase === "done" || this.#phase === "upgraded") return rest;
      rest = this.#step(rest);
    }
    return undefined;
  }

  /** The endpoint has closed its side. False: in the middle of a response. */
  finish(): boolean {
    if (this.#phase === "until-close") this.#end(NO_HEADERS);
    return this.#phase === "done";
  }

  /** Consumes what it can; undefined: everything is consumed or kept for later. */
  #step(bytes: Buffer): Buffer | undefined {
    switch (this.#phase) {
      case "head":
        return this.#head(bytes);
      case "sized":
      case "chunk-data":
        return this.#counted(bytes);
      case "chunk-size":
        return this.#chunkSize(bytes);
      case "chunk-end":
        return this.#chunkEnd(bytes);
      case "trailers":
        return this.#trailers(bytes);
      default:
        this.#handler.onBody(bytes);
        return undefined;
    }
  }

  #keep(bytes: Buffer, limit: number, what: string): undefined {
    if (bytes.length > limit) throw malformed(`${what} of more than ${limit} bytes`);
    this.#pending = bytes;
    return undefined;
  }

  #head(bytes: Buffer): Buffer | undefined {
    const end = bytes.indexOf(HEAD_END);
    if (end < 0 || end > this.#maxHeadBytes) return this.#keep(bytes, this.#maxHeadBytes, "a head");
    const lines = bytes.toString("latin1", 0, end).split("\r\n");
    const [, minor, code] = STATUS_LINE.exec(lines[0] ?? "") ?? [];
    if (code === undefined) throw malformed("a malformed status line");
    const status = Number(code);
    const rest = bytes.subarray(end + HEAD_END.length);
    if (status < 200 && !(status === SWITCHING_PROTOCOLS && this.#webSocket)) {
      // An interim response that nobody asked for: the final one follows (RFC 9110 §15.2).
      if (status === SWITCHING_PROTOCOLS) throw malformed("an upgrade that was not asked for");
      return rest;
    }
    this.#start(status, parseFields(lines, 1), minor === "1");
    return rest;
  }

  #start(status: number, headers: HeaderList, http11: boolean): void {
    const transferEncoding = only(headers, "transfer-encoding")?.toLowerCase();
    const contentLength = only(headers, "content-length");
    const connection = valuesOf(headers, "connection").join().toLowerCase();
    if (transferEncoding !== undefined && (transferEncoding !== "chunked" || contentLength !== undefined || !http11))
      throw malformed("an ambiguous length");
    if (contentLength !== undefined && !/^\d{1,15}$/.test(contentLength)) throw malformed("a malformed length");
    this.#persistent = http11 ? !/\bclose\b/.test(connection) : /\bkeep-alive\b/.test(connection);
    this.#remaining = Number(contentLength ?? 0);
    const bodyless = status === SWITCHING_PROTOCOLS || status === 204 || status === 304 || this.#method === "HEAD";
    const hasBody = !bodyless && (contentLength === undefined || this.#remaining > 0);
    this.#phase = this.#phaseAfterHead(status, hasBody, transferEncoding !== undefined, contentLength !== undefined);
    this.#handler.onHead({ status, headers, hasBody, chunked: transferEncoding !== undefined });
    if (!hasBody && this.#phase !== "upgraded") this.#end(NO_HEADERS);
  }

  #phaseAfterHead(status: number, hasBody: boolean, chunked: boolean, sized: boolean): Phase {
    if (status === SWITCHING_PROTOCOLS) return "upgraded";
    if (!hasBody) return "done";
    if (chunked) return "chunk-size";
    if (sized) return "sized";
    this.#persistent = false;
    return "until-close";
  }

  #counted(bytes: Buffer): Buffer | undefined {
    const taken = bytes.length <= this.#remaining ? bytes : bytes.subarray(0, this.#remaining);
    const rest = bytes.length <= this.#remaining ? undefined : bytes.subarray(this.#remaining);
    this.#remaining -= taken.length;
    const last = this.#remaining === 0;
    const sized = this.#phase === "sized";
    if (last && !sized) this.#phase = "chunk-end";
    this.#handler.onBody(taken);
    if (last && sized) this.#end(NO_HEADERS);
    return rest;
  }

  #chunkSize(bytes: Buffer): Buffer | undefined {
    const end = bytes.indexOf("\r\n");
    if (end < 0 || end > MAX_CHUNK_LINE) return this.#keep(bytes, MAX_CHUNK_LINE, "a chunk size");
    const size = CHUNK_SIZE.exec(bytes.toString("latin1", 0, end))?.[1];
    if (size === undefined) throw malformed("a malformed chunk size");
    this.#remaining = Number.parseInt(size, 16);
    this.#phase = this.#remaining === 0 ? "trailers" : "chunk-data";
    return bytes.subarray(end + 2);
  }

  #chunkEnd(bytes: Buffer): Buffer | undefined {
    if (bytes.length < 2) return this.#keep(bytes, 2, "a chunk's end");
    if (bytes[0] !== 0x0d || bytes[1] !== 0x0a) throw malformed("a chunk longer than it says");
    this.#phase = "chunk-size";
    return bytes.subarray(2);
  }

  #trailers(bytes: Buffer): Buffer | undefined {
    if (bytes.length < 2) return this.#keep(bytes, 2, "trailers");
    if (bytes[0] === 0x0d && bytes[1] === 0x0a) {
      this.#end(NO_HEADERS);
      return bytes.subarray(2);
    }
    const end = bytes.indexOf(HEAD_END);
    if (end < 0 || end > this.#maxHeadBytes) return this.#keep(bytes, this.#maxHeadBytes, "trailers");
    this.#end(sanitizeTrailers(parseFields(bytes.toString("latin1", 0, end).split("\r\n"), 0)));
    return bytes.subarray(end + HEAD_END.length);
  }

  #end(trailers: HeaderList): void {
    this.#phase = "done";
    this.#handler.onMessageEnd(trailers);
  }
}
