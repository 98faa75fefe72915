/** Strict DER (X.690 §8, §10, §11): definite and minimal lengths, bounded size and depth. Whatever comes in, only AppError comes out. */
import { AppError } from "../core/error.ts";

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Larger than any certificate or request a mesh has use for. */
const MAX_BYTES = 64 * 1024;
/** A certificate nests eight deep. */
const MAX_DEPTH = 16;
const CONSTRUCTED = 0x20;

/** Reads the elements of one constructed value in order. Each read names what it expects and throws `invalid-argument` when it meets something else. */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  readonly #end: number;
  #at: number;
  /** Where the content of the element at `#at` begins and ends; set by `#header`. */
  #contentStart = 0;
  #contentEnd = 0;

  constructor(bytes: Uint8Array, what: string, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#what = what;
    this.#at = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  /** The tag of the next element; -1 at the end. */
  peek(): number {
    return this.done ? -1 : (this.#bytes[this.#at] ?? -1);
  }

  /** The content of the next element, which must have `tag`. */
  content(tag: number): Uint8Array {
    this.#header(tag);
    this.#at = this.#contentEnd;
    return this.#bytes.subarray(this.#contentStart, this.#contentEnd);
  }

  /** The next element whole, with its tag and length. */
  element(tag: number): Uint8Array {
    const start = this.#at;
    this.#header(tag);
    this.#at = this.#contentEnd;
    return this.#bytes.subarray(start, this.#contentEnd);
  }

  /** A reader of the next element's own elements. */
  enter(tag: number): DerReader {
    this.#header(tag);
    this.#at = this.#contentEnd;
    return new DerReader(this.#bytes, this.#what, this.#contentStart, this.#contentEnd);
  }

  /** Passes over the next element, whatever it is. */
  skip(): void {
    this.#header(this.peek());
    this.#at = this.#contentEnd;
  }

  /** Throws unless everything has been read. */
  finish(): void {
    if (!this.done) throw this.fail("has something after its last field");
  }

  fail(why: string): AppError {
    return new AppError("invalid-argument", `the ${this.#what} ${why} (byte ${this.#at})`);
  }

  #header(tag: number): void {
    const at = this.#at;
    if (at + 2 > this.#end) throw this.fail("ends too early");
    const found = this.#bytes[at] ?? 0;
    if (found !== tag) throw this.fail(`has DER tag ${found} where ${tag} belongs`);
    const first = this.#bytes[at + 1] ?? 0;
    this.#contentStart = at + 2;
    const length = first < 0x80 ? first : this.#longLength(first);
    this.#contentEnd = this.#contentStart + length;
    if (this.#contentEnd > this.#end) throw this.fail("ends too early");
  }

  /** X.690 §10.1: the definite form in the fewest bytes; three length bytes are enough below every size limit. */
  #longLength(first: number): number {
    const count = first & 0x7f;
    if (count === 0) throw this.fail("has an indefinite length");
    if (count > 3) throw this.fail("has an element that is too long");
    if (this.#contentStart + count > this.#end) throw this.fail("ends too early");
    let length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + (this.#bytes[this.#contentStart++] ?? 0);
    if (length < 0x80 || length < 256 ** (count - 1)) throw this.fail("has a length that is not minimal");
    return length;
  }
}

function isMinimalInteger(content: Uint8Array): boolean {
  const [first = 0, second = 0] = content;
  if (content.length < 2) return content.length === 1;
  return !(first === 0 && second < 0x80) && !(first === 0xff && second >= 0x80);
}

function isBitString(content: Uint8Array): boolean {
  const unused = content[0] ?? 8;
  if (content.length === 1) return unused === 0;
  return unused < 8 && ((content[content.length - 1] ?? 0) & ((1 << unused) - 1)) === 0;
}

function isObjectId(content: Uint8Array): boolean {
  let arcStart = true;
  for (const byte of content) {
    if (arcStart && byte === 0x80) return false;
    arcStart = byte < 0x80;
  }
  return content.length > 0 && arcStart;
}

/** X.690 §8.1, §11: how the universal types must be written. */
function checkPrimitive(reader: DerReader, tag: number, content: Uint8Array): void {
  const good =
    tag === TAG.boolean
      ? content.length === 1 && (content[0] === 0 || content[0] === 0xff)
      : tag === TAG.integer
        ? isMinimalInteger(content)
        : tag === TAG.bitString
          ? isBitString(content)
          : tag === TAG.oid
            ? isObjectId(content)
            : tag === TAG.null
              ? content.length === 0
              : tag !== 0;
  if (!good) throw reader.fail(`has a value of DER tag ${tag} that is not strict DER`);
}

function checkElements(reader: DerReader, depth: number): void {
  if (depth > MAX_DEPTH) throw reader.fail(`is nested deeper than ${MAX_DEPTH}`);
  while (!reader.done) {
    const tag = reader.peek();
    if ((tag & 0x1f) === 0x1f) throw reader.fail("has a DER tag of several bytes");
    const universal = tag < 0x40;
    if ((tag & CONSTRUCTED) !== 0) {
      if (universal && tag !== TAG.sequence && tag !== TAG.set) throw reader.fail("has a string in pieces, which DER forbids");
      checkElements(reader.enter(tag), depth + 1);
    } else {
      if (tag === 0x10 || tag === 0x11) throw reader.fail("has a sequence that is not constructed");
      checkPrimitive(reader, tag, reader.content(tag));
    }
  }
}

/**
 * A reader over `bytes`, after a check that they are strict DER down to the last element (not into octet strings).
 * `what` names the thing in messages, such as `certificate`. Throws `invalid-argument`, also for more than `maxBytes`.
 */
export function openDer(bytes: Uint8Array, what: string, maxBytes = MAX_BYTES): DerReader {
  if (bytes.length === 0) throw new AppError("invalid-argument", `the ${what} is empty`);
  if (bytes.length > maxBytes) throw new AppError("invalid-argument", `the ${what} is larger than ${maxBytes} bytes`);
  /** A plain view: cutting pieces off a Buffer costs twice as much. */
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  checkElements(new DerReader(view, what), 0);
  return new DerReader(view, what);
}
