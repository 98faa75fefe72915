/** What the two protocol variants have in common, so that one stream serves both. */
import { type BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Node } from "../gen/envoy/config/core/v3/base_pb.js";
import type { Status } from "../gen/google/rpc/status_pb.js";
import type { Push } from "./push.ts";
import type { Subscription } from "./subscription.ts";

/** The fields that both variants' requests have. */
export interface DiscoveryRequestBase {
  readonly node?: Node | undefined;
  readonly typeUrl: string;
  readonly responseNonce: string;
  readonly errorDetail?: Status | undefined;
}

/** What a response says beside its resources. */
export interface ResponseHeader {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly version: string;
}

export interface Variant<Request extends DiscoveryRequestBase> {
  readonly name: "delta" | "sotw";
  /** Every name and version that the request carries, to be held against the bounds. */
  strings(request: Request): Iterable<string>;
  /** Whether a first request of a type comes from a client that has been connected before. */
  resumes(request: Request): boolean;
  /** False for a request that must be ignored. */
  isCurrent(subscription: Subscription, request: Request): boolean;
  /** Applies what the request says of names; `first` is the first request of this type on the stream. */
  subscribe(subscription: Subscription, request: Request, first: boolean): void;
  encode(header: ResponseHeader, push: Push): Buffer;
}

/** A text field; as in every message of proto3, none where it is empty. */
export function writeText(writer: BinaryWriter, field: number, text: string): void {
  if (text !== "") writer.tag(field, WireType.LengthDelimited).string(text);
}

/** A field of type `google.protobuf.Any`: a message that is serialized already is copied, and no object made of it. */
export function writeAny(writer: BinaryWriter, field: number, typeUrl: string, value: Uint8Array): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  writeText(writer, 1, typeUrl);
  if (value.length > 0) writer.tag(2, WireType.LengthDelimited).bytes(value);
  writer.join();
}

/** A view of the same bytes as the Buffer that grpc-js asks for. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
