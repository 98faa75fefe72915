/** BER (X.690 §8) as CMS messages come: also with indefinite lengths and strings in pieces. Bounded; whatever comes in, only AppError comes out. */
import { AppError } from "../core/error.ts";

export interface BerElement {
  readonly tag: number;
  /** The element whole. */
  readonly bytes: Uint8Array;
  /** Without its header, and without the mark that ends an indefinite length. */
  readonly content: Uint8Array;
  /** Of a constructed element. */
  readonly children: readonly BerElement[];
}

const MAX_BYTES = 16 * 1024;
const MAX_DEPTH = 24;
const CONSTRUCTED = 0x20;

class BerParser {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  whole(): BerElement {
    const element = this.#element(this.#bytes.length, 0);
    if (this.#at !== this.#bytes.length) throw this.#fail("has something after its end");
    return element;
  }

  #fail(why: string): AppError {
    return new AppError("invalid-argument", `the ${this.#what} ${why} (byte ${this.#at})`);
  }

  #next(end: number): number {
    const byte = this.#at < end ? this.#bytes[this.#at++] : undefined;
    if (byte === undefined) throw this.#fail("ends too early");
    return byte;
  }

  /** Undefined for an indefinite one. */
  #length(end: number): number | undefined {
    const first = this.#next(end);
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count === 0) return undefined;
    if (count > 3) throw this.#fail("has an element that is too long");
    let length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + this.#next(end);
    return length;
  }

  #element(end: number, depth: number): BerElement {
    if (depth > MAX_DEPTH) throw this.#fail(`is nested deeper than ${MAX_DEPTH}`);
    const start = this.#at;
    const tag = this.#next(end);
    if ((tag & 0x1f) === 0x1f) throw this.#fail("has a tag of several bytes");
    const length = this.#length(end);
    const contentStart = this.#at;
    if (length !== undefined && contentStart + length > end) throw this.#fail("ends too early");
    if ((tag & CONSTRUCTED) === 0) {
      if (length === undefined) throw this.#fail("has a primitive element of indefinite length");
      this.#at += length;
      return this.#cut(tag, start, contentStart, this.#at, []);
    }
    const children: BerElement[] = [];
    const stop = length === undefined ? end : contentStart + length;
    while (length === undefined ? !this.#isEndMark(stop) : this.#at < stop) children.push(this.#element(stop, depth + 1));
    const contentEnd = this.#at;
    if (length === undefined) this.#at += 2;
    return this.#cut(tag, start, contentStart, contentEnd, children);
  }

  #isEndMark(end: number): boolean {
    if (this.#at + 2 > end) throw this.#fail("ends too early");
    return this.#bytes[this.#at] === 0 && this.#bytes[this.#at + 1] === 0;
  }

  #cut(tag: number, start: number, contentStart: number, contentEnd: number, children: readonly BerElement[]): BerElement {
    return { tag, bytes: this.#bytes.subarray(start, this.#at), content: this.#bytes.subarray(contentStart, contentEnd), children };
  }
}

/** The one element that `bytes` are. `what` names the thing in messages. Throws `invalid-argument`. */
export function parseBer(bytes: Uint8Array, what: string): BerElement {
  if (bytes.length > MAX_BYTES) throw new AppError("invalid-argument", `the ${what} is larger than ${MAX_BYTES} bytes`);
  return new BerParser(bytes, what).whole();
}

/** The bytes of an octet string, also of one in pieces; undefined for anything else. */
export function octetsOf({ tag, content, children }: BerElement): Uint8Array | undefined {
  if (tag === 0x04) return content;
  if (tag !== 0x24) return undefined;
  const pieces = children.map(octetsOf);
  return pieces.every((piece) => piece !== undefined) ? Buffer.concat(pieces) : undefined;
}
