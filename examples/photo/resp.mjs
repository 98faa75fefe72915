// RESP2, Redis' protocol (https://redis.io/docs/latest/develop/reference/protocol-spec/): reading and writing, for both ends.

const MAX_BUFFERED = 1024 * 1024;
const MAX_ITEMS = 16 * 1024;
const MAX_DEPTH = 4;

/** A simple string (`+OK`), to tell it from a bulk string. */
export class Status {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
  }
}

/** Bytes that are not the protocol, or more of them than is allowed. */
export class ProtocolError extends Error {}

/**
 * A command, as a client sends it.
 * @param {readonly string[]} args
 */
export function encodeCommand(args) {
  return encodeReply([...args]);
}

/**
 * A reply: null, a number, a string, a Status, an Error, or an array of these.
 * @param {unknown} value
 * @returns {string}
 */
export function encodeReply(value) {
  if (value === null) return "$-1\r\n";
  if (typeof value === "number") return `:${value}\r\n`;
  if (value instanceof Status) return `+${value.text}\r\n`;
  if (value instanceof Error) return `-ERR ${value.message.replace(/[\r\n]+/g, " ")}\r\n`;
  if (Array.isArray(value)) return `*${value.length}\r\n${value.map(encodeReply).join("")}`;
  return `$${Buffer.byteLength(String(value))}\r\n${value}\r\n`;
}

/** Takes bytes as they come and gives the values that are complete. */
export class RespReader {
  #buffer = Buffer.alloc(0);
  #at = 0;

  /**
   * @param {Buffer} chunk
   * @returns {unknown[]} errors as Error, simple strings as Status, bulk strings as string, inline commands as arrays
   */
  push(chunk) {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    const values = [];
    for (;;) {
      this.#at = 0;
      const value = this.#value(0);
      if (value === undefined) break;
      values.push(value);
      this.#buffer = this.#buffer.subarray(this.#at);
    }
    if (this.#buffer.length > MAX_BUFFERED) throw new ProtocolError("too much without an end");
    return values;
  }

  /** The line that begins here, without its end; undefined when it has not ended yet. */
  #line() {
    const end = this.#buffer.indexOf("\r\n", this.#at);
    if (end < 0) return undefined;
    const line = this.#buffer.toString("utf8", this.#at, end);
    this.#at = end + 2;
    return line;
  }

  /**
   * The value that begins here; undefined when it is not complete.
   * @param {number} depth
   * @returns {unknown}
   */
  #value(depth) {
    if (depth > MAX_DEPTH) throw new ProtocolError("too deep");
    const line = this.#line();
    if (line === undefined) return undefined;
    const rest = line.slice(1);
    if (line.startsWith("+")) return new Status(rest);
    if (line.startsWith("-")) return new Error(rest);
    if (line.startsWith(":")) return length(rest, -Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
    if (line.startsWith("$")) return this.#bulk(length(rest, -1, MAX_BUFFERED));
    if (line.startsWith("*")) return this.#array(length(rest, -1, MAX_ITEMS), depth);
    return line.split(/\s+/).filter((word) => word !== "");
  }

  /** @param {number} size */
  #bulk(size) {
    if (size < 0) return null;
    const end = this.#at + size;
    if (this.#buffer.length < end + 2) return undefined;
    if (this.#buffer.toString("latin1", end, end + 2) !== "\r\n") throw new ProtocolError("a bulk string has another length");
    const text = this.#buffer.toString("utf8", this.#at, end);
    this.#at = end + 2;
    return text;
  }

  /**
   * @param {number} size
   * @param {number} depth
   */
  #array(size, depth) {
    if (size < 0) return null;
    const items = [];
    while (items.length < size) {
      const item = this.#value(depth + 1);
      if (item === undefined) return undefined;
      items.push(item);
    }
    return items;
  }
}

/**
 * @param {string} text
 * @param {number} least
 * @param {number} most
 */
function length(text, least, most) {
  const number = /^-?\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= least && number <= most)) throw new ProtocolError("a number is not one, or out of bounds");
  return number;
}
