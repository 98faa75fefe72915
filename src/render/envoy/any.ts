/** Messages as Envoy wants its extensions: packed into `google.protobuf.Any` beside a name. */
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";

/** The type URL under which xDS names a message. */
export function typeUrl(schema: DescMessage): string {
  return `type.googleapis.com/${schema.typeName}`;
}

/** A message packed with its type URL. */
export function pack<M extends DescMessage>(schema: M, init: MessageInitShape<M>): Any {
  return anyPack(schema, create(schema, init));
}

/** An extension by its well-known name, as filters, access logs and transport sockets have it. */
export function namedConfig<M extends DescMessage>(
  name: string,
  schema: M,
  init: MessageInitShape<M>,
): { readonly name: string; readonly configType: { readonly case: "typedConfig"; readonly value: Any } } {
  return { name, configType: { case: "typedConfig", value: pack(schema, init) } };
}

/** `google.protobuf.Duration` of whole and parts of seconds; 0 disables most of Envoy's timeouts. */
export function duration(seconds: number): { readonly seconds: bigint; readonly nanos: number } {
  const whole = Math.trunc(seconds);
  return { seconds: BigInt(whole), nanos: Math.round((seconds - whole) * 1e9) };
}
