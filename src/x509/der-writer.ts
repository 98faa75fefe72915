/** Writes DER (X.690). Every function answers one whole element. */
import { TAG } from "./der-reader.ts";

/** An element of `tag` around `contents` in order. */
export function element(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const content of contents) length += content.length;
  const header = length < 0x80 ? 2 : length < 0x100 ? 3 : length < 0x10000 ? 4 : 5;
  const out = Buffer.allocUnsafe(header + length);
  out[0] = tag;
  if (header === 2) out[1] = length;
  else if (header === 3) out.writeUInt16BE(0x8100 | length, 1);
  else {
    out[1] = 0x7e + header;
    out.writeUIntBE(length, 2, header - 2);
  }
  let at = header;
  for (const content of contents) {
    out.set(content, at);
    at += content.length;
  }
  return out;
}

export function sequence(...contents: readonly Uint8Array[]): Uint8Array {
  return element(TAG.sequence, ...contents);
}

export function set(...contents: readonly Uint8Array[]): Uint8Array {
  return element(TAG.set, ...contents);
}

export function octetString(content: Uint8Array): Uint8Array {
  return element(TAG.octetString, content);
}

/** A bit string whose last byte has `unused` bits that do not count. */
export function bitString(content: Uint8Array, unused = 0): Uint8Array {
  return element(TAG.bitString, Buffer.from([unused]), content);
}

/** A non-negative integer from its big-endian bytes without leading zeros. */
export function unsignedInteger(bytes: Uint8Array): Uint8Array {
  return (bytes[0] ?? 0) < 0x80 ? element(TAG.integer, bytes) : element(TAG.integer, Buffer.from([0]), bytes);
}

export function boolean(value: boolean): Uint8Array {
  return element(TAG.boolean, Buffer.from([value ? 0xff : 0]));
}

/** NULL, which has one form. */
export const NULL: Uint8Array = element(TAG.null);

export function utf8String(text: string): Uint8Array {
  return element(TAG.utf8String, Buffer.from(text, "utf8"));
}
