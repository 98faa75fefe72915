/**
 * Messages written from parts that are serialized already: of texts and bytes alone, into a buffer of just their size. Responses go to
 * thousands of streams at once.
 */
import { Buffer } from "node:buffer";

/** Fields of a message, in their order, and how long they are together. */
export interface Message {
  readonly fields: readonly Field[];
  readonly size: number;
}

/** A field of a message: its number, below 16, and a text, bytes, or a message. */
export type Field = readonly [number: number, content: string | Uint8Array | Message];

const LENGTH_DELIMITED = 2;

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest > 0x7f; rest >>>= 7) size += 1;
  return size;
}

function contentSize(content: Field[1]): number {
  if (typeof content === "string") return Buffer.byteLength(content);
  return content instanceof Uint8Array ? content.length : content.size;
}

/** A message of these fields, measured once. */
export function messageOf(fields: readonly Field[]): Message {
  let size = 0;
  for (const [, content] of fields) {
    const length = contentSize(content);
    size += 1 + varintSize(length) + length;
  }
  return { fields, size };
}

function writeHead(into: Buffer, at: number, field: number, length: number): number {
  into[at] = (field << 3) | LENGTH_DELIMITED;
  let end = at + 1;
  let rest = length;
  for (; rest > 0x7f; rest >>>= 7) into[end++] = (rest & 0x7f) | 0x80;
  into[end] = rest;
  return end + 1;
}

/** Returns where it ends. */
function write(into: Buffer, from: number, { fields }: Message): number {
  let at = from;
  for (const [field, content] of fields) {
    at = writeHead(into, at, field, contentSize(content));
    if (typeof content === "string") at += into.write(content, at);
    else if (content instanceof Uint8Array) {
      into.set(content, at);
      at += content.length;
    } else at = write(into, at, content);
  }
  return at;
}

/** The message's bytes. */
export function writeMessage(message: Message, allocate = Buffer.allocUnsafe): Buffer {
  const into = allocate(message.size);
  write(into, 0, message);
  return into;
}

/** A field that is not repeated: as in every message of proto3, none where it is empty. */
export function single(field: number, content: string | Uint8Array): readonly Field[] {
  return content.length === 0 ? [] : [[field, content]];
}

/** A `google.protobuf.Any` around a message that is serialized already. */
export function anyOf(typeUrl: string, value: Uint8Array): Message {
  return messageOf([...single(1, typeUrl), ...single(2, value)]);
}

/** Of so many resources in one message most are others' as well: each is written once for all. */
const MANY = 64;

/** `make` for each item: its message, or the bytes of it. */
export function writtenOnce<T extends object>(make: (item: T, typeUrl: string) => Message) {
  const written = new WeakMap<T, { readonly typeUrl: string; readonly bytes: Uint8Array }>();
  const bytesOf = (item: T, typeUrl: string): Uint8Array => {
    const known = written.get(item);
    if (known?.typeUrl === typeUrl) return known.bytes;
    const bytes = writeMessage(make(item, typeUrl), Buffer.allocUnsafeSlow);
    written.set(item, { typeUrl, bytes });
    return bytes;
  };
  return (items: readonly T[], typeUrl: string): readonly (Message | Uint8Array)[] =>
    items.map((item) => (items.length >= MANY ? bytesOf(item, typeUrl) : make(item, typeUrl)));
}
