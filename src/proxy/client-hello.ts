/** What a client asks for in the first message of a TLS handshake (RFC 8446 §4.1.2), read without taking it. */
import type { Verdict } from "./sniff.ts";

export interface ClientHello {
  /** In lower case; empty where the client names none. */
  readonly serverName: string;
  readonly alpn: readonly string[];
}

/** `none`: what came is no such message. */
type HelloVerdict = ClientHello | "none";

const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
/** RFC 8446 §5.1. */
const MAX_RECORD = 16_384;
/** Larger than any client's, with post-quantum keys too. */
const MAX_HELLO = 65_536;
/** Clients write one, and some split it in two. */
const MAX_RECORDS = 16;
const SERVER_NAME = 0;
const HOST_NAME = 0;
const ALPN = 16;

/** Reads numbers and vectors; throws RangeError beyond its end, as Buffer does. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  number(size: 1 | 2 | 3): number {
    const value = this.#bytes.readUIntBE(this.#at, size);
    this.#at += size;
    return value;
  }

  bytes(length: number): Buffer {
    if (length > this.left) throw new RangeError("the message ends too early");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** A vector whose length stands before it, in `size` bytes. */
  vector(size: 1 | 2): Reader {
    return new Reader(this.bytes(this.number(size)));
  }

  text(): string {
    return this.bytes(this.left).toString("latin1");
  }
}

/** The handshake bytes of the records that are there; undefined for what is no handshake. */
function handshakeOf(first: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; at < first.length; ) {
    if (first[at] !== HANDSHAKE_RECORD || (at + 1 < first.length && first[at + 1] !== 3)) return undefined;
    if (at + 5 > first.length) break;
    const length = first.readUInt16BE(at + 3);
    if (length === 0 || length > MAX_RECORD || parts.length === MAX_RECORDS) return undefined;
    parts.push(first.subarray(at + 5, at + 5 + length));
    at += 5 + length;
  }
  return Buffer.concat(parts);
}

/** RFC 6066 §3. */
function serverNameOf(extension: Reader): string {
  const list = extension.vector(2);
  while (list.left > 0) {
    const type = list.number(1);
    const name = list.vector(2);
    if (type === HOST_NAME) return name.text().toLowerCase();
  }
  return "";
}

/** RFC 7301 §3.1. */
function protocolsOf(extension: Reader): readonly string[] {
  const list = extension.vector(2);
  const names: string[] = [];
  while (list.left > 0) names.push(list.vector(1).text());
  return names;
}

function readHello(body: Reader): ClientHello {
  body.bytes(2 + 32);
  body.vector(1);
  body.vector(2);
  body.vector(1);
  let [serverName, alpn]: [string, readonly string[]] = ["", []];
  const extensions = body.left === 0 ? body : body.vector(2);
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    if (type === SERVER_NAME) serverName = serverNameOf(content);
    else if (type === ALPN) alpn = protocolsOf(content);
  }
  return { serverName, alpn };
}

/** The message as soon as all of it is there. OpenSSL reads it again after this, and refuses what breaks a rule. */
export const clientHello: Verdict<HelloVerdict> = (first) => {
  const handshake = handshakeOf(first);
  if (handshake === undefined || (handshake.length > 0 && handshake[0] !== CLIENT_HELLO)) return "none";
  if (handshake.length < 4) return undefined;
  const length = handshake.readUIntBE(1, 3);
  if (length > MAX_HELLO) return "none";
  if (handshake.length < 4 + length) return undefined;
  try {
    return readHello(new Reader(handshake.subarray(4, 4 + length)));
  } catch {
    return "none";
  }
};
