/** Fields of messages written from parts that are serialized already, where thousands of messages are made of the same parts. */
import { Buffer } from "node:buffer";

const LENGTH_DELIMITED = 2;

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest > 0x7f; rest >>>= 7) size += 1;
  return size;
}

/** What precedes the content of a field: its number, below 16, and how many bytes follow. */
function writeHead(into: Uint8Array, field: number, length: number): number {
  into[0] = (field << 3) | LENGTH_DELIMITED;
  let end = 1;
  let rest = length;
  for (; rest > 0x7f; rest >>>= 7) into[end++] = (rest & 0x7f) | 0x80;
  into[end] = rest;
  return end + 1;
}

function lengthOf(parts: readonly Uint8Array[]): number {
  let length = 0;
  for (const part of parts) length += part.length;
  return length;
}

function writeParts(into: Uint8Array, from: number, parts: readonly Uint8Array[]): void {
  let at = from;
  for (const part of parts) {
    into.set(part, at);
    at += part.length;
  }
}

/** A field of a number below 16 whose content is these parts one after another, in memory of its own: it may be kept long. */
export function delimited(field: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = lengthOf(parts);
  const into = Buffer.allocUnsafeSlow(1 + varintSize(length) + length);
  writeParts(into, writeHead(into, field, length), parts);
  return into;
}

/** A field with a text, and what follows it, in memory that is shared with others: not to be kept. */
export function textThen(field: number, text: string, rest: Uint8Array): Uint8Array {
  const length = Buffer.byteLength(text);
  const into = Buffer.allocUnsafe(1 + varintSize(length) + length + rest.length);
  const head = writeHead(into, field, length);
  into.write(text, head);
  into.set(rest, head + length);
  return into;
}

/** Fields one after another. */
export function joinedFields(fields: readonly Uint8Array[]): Uint8Array {
  const [only] = fields;
  if (only !== undefined && fields.length === 1) return only;
  const into = Buffer.allocUnsafeSlow(lengthOf(fields));
  writeParts(into, 0, fields);
  return into;
}
