/**
 * Protocol buffers by hand, for the few fields that the agent reads and writes. The generated code knows everything of
 * a message and keeps it in memory, which is a tenth of what this process may use; the tests hold the two against
 * each other.
 */
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** What is done with a field's value, of those that are length-delimited. */
export type FieldReaders = Readonly<Record<number, (value: Uint8Array) => void>>;
/** And of whole numbers; what does not fit a double is none of ours. */
type NumberReaders = Readonly<Record<number, (value: number) => void>>;

/** Reads a message's known fields in their order and skips the others. Throws a RangeError for what is no message. */
export function readFields(message: Uint8Array, fields: FieldReaders, numbers: NumberReaders = {}): void {
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited && fields[number] !== undefined) fields[number](reader.bytes());
    else if (wireType === WireType.Varint && numbers[number] !== undefined) numbers[number](Number(reader.int64()));
    else reader.skip(wireType, number);
  }
}

const DECODER = new TextDecoder("utf-8", { fatal: true });

/** The text of a string field. Throws a TypeError for what is not UTF-8. */
export function textOf(value: Uint8Array): string {
  return DECODER.decode(value);
}

/** A field to be written: text, bytes, a whole number, a boolean, a double, or a message within. */
export type Field = readonly [number: number, value: string | Uint8Array | bigint | boolean | number | Message];

/** Fields in the order in which they are written; a repeated one stands here once for each of its elements. */
export type Message = readonly Field[];

function write(writer: BinaryWriter, message: Message): BinaryWriter {
  for (const [number, value] of message) {
    if (typeof value === "bigint") writer.tag(number, WireType.Varint).int64(value);
    else if (typeof value === "boolean") writer.tag(number, WireType.Varint).bool(value);
    else if (typeof value === "number") writer.tag(number, WireType.Bit64).double(value);
    else if (typeof value === "string") writer.tag(number, WireType.LengthDelimited).string(value);
    else if (value instanceof Uint8Array) writer.tag(number, WireType.LengthDelimited).bytes(value);
    else write(writer.tag(number, WireType.LengthDelimited).fork(), value).join();
  }
  return writer;
}

/** The bytes of a message. */
export function encodeMessage(message: Message): Buffer {
  const bytes = write(new BinaryWriter(), message).finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
