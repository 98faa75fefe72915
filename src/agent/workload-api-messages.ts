/** The messages of the SPIFFE Workload API (proto/spiffe/workload/workload.proto). */
import { encodeMessage, type Message, readFields, textOf } from "./protobuf.ts";

export interface X509SvidMessage {
  readonly identity: string;
  /** DER certificates, concatenated. */
  readonly chain: Uint8Array;
  /** PKCS#8 in DER. */
  readonly privateKey: Uint8Array;
  readonly bundle: Uint8Array;
  /** DER certificates by the SPIFFE ID of another trust domain. */
  readonly federated: ReadonlyMap<string, Uint8Array>;
}

/** `X509SVIDResponse` with one SVID. */
export function encodeX509Svid({ identity, chain, privateKey, bundle, federated }: X509SvidMessage): Buffer {
  const svid: Message = [
    [1, identity],
    [2, chain],
    [3, privateKey],
    [4, bundle],
  ];
  return encodeMessage([[1, svid], ...entries(3, federated)]);
}

/** Of a map from texts to bytes. */
function entries(field: number, map: ReadonlyMap<string, Uint8Array>): Message {
  return [...map].map(([key, value]): Message[number] => [
    field,
    [
      [1, key],
      [2, value],
    ],
  ]);
}

/** `X509BundlesResponse`, by the SPIFFE IDs of trust domains. */
export function encodeX509Bundles(bundles: ReadonlyMap<string, Uint8Array>): Buffer {
  return encodeMessage(entries(2, bundles));
}

/** `JWTBundlesResponse`, by the SPIFFE IDs of trust domains. */
export function encodeJwtBundles(bundles: ReadonlyMap<string, string>): Buffer {
  return encodeMessage(entries(1, new Map([...bundles].map(([id, jwks]) => [id, Buffer.from(jwks)]))));
}

/** `JWTSVIDResponse` with one SVID. */
export function encodeJwtSvid(identity: string, token: string): Buffer {
  const svid: Message = [
    [1, identity],
    [2, token],
  ];
  return encodeMessage([[1, svid]]);
}

export interface JwtSvidRequest {
  readonly audiences: readonly string[];
  /** Empty for the workload's own, whichever it is. */
  readonly identity: string;
}

/** `JWTSVIDRequest`. */
export function decodeJwtSvidRequest(bytes: Uint8Array): JwtSvidRequest {
  const audiences: string[] = [];
  let identity = "";
  readFields(bytes, { 1: (value) => audiences.push(textOf(value)), 2: (value) => (identity = textOf(value)) });
  return { audiences, identity };
}

export interface ValidateRequest {
  readonly audience: string;
  readonly token: string;
}

/** `ValidateJWTSVIDRequest`. */
export function decodeValidateRequest(bytes: Uint8Array): ValidateRequest {
  let audience = "";
  let token = "";
  readFields(bytes, { 1: (value) => (audience = textOf(value)), 2: (value) => (token = textOf(value)) });
  return { audience, token };
}

/** `google.protobuf.Value` of a JSON value. */
function jsonValue(value: unknown): Message {
  switch (typeof value) {
    case "number":
      return [[2, value]];
    case "string":
      return [[3, value]];
    case "boolean":
      return [[4, value]];
    default:
      if (Array.isArray(value)) return [[6, value.map((item) => [1, jsonValue(item)] as const)]];
      return value === null || value === undefined ? [[1, 0n]] : [[5, structOf(value as Readonly<Record<string, unknown>>)]];
  }
}

/** `google.protobuf.Struct` of a JSON object. */
function structOf(members: Readonly<Record<string, unknown>>): Message {
  return Object.entries(members).map(([key, value]) => {
    const member: Message = [
      [1, key],
      [2, jsonValue(value)],
    ];
    return [1, member];
  });
}

/** `ValidateJWTSVIDResponse`. */
export function encodeValidated(identity: string, claims: Readonly<Record<string, unknown>>): Buffer {
  return encodeMessage([
    [1, identity],
    [2, structOf(claims)],
  ]);
}
