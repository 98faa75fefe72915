/** The messages of `envoy.service.secret.v3.SecretDiscoveryService`: what both variants of the protocol say, in one form (`discovery.proto`, `secret.proto`). */
import { encodeMessage, type Message, readFields, textOf } from "./protobuf.ts";

export const SECRET_TYPE_URL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/** What the client wants from now on. */
export type WantedSecrets =
  | { readonly kind: "all"; readonly names: readonly string[] }
  | {
      readonly kind: "change";
      readonly subscribe: readonly string[];
      readonly unsubscribe: readonly string[];
      /** Versions that the client brings from an earlier stream, by name. */
      readonly held: ReadonlyMap<string, string>;
    };

export interface SecretRequest {
  readonly typeUrl: string;
  /** Of the response that is answered; empty in a stream's first request. */
  readonly nonce: string;
  /** Why the client refused that response. */
  readonly refusal: string | undefined;
  readonly wanted: WantedSecrets;
}

export interface NamedSecret {
  readonly name: string;
  readonly version: string;
  /** A serialized `Secret`. */
  readonly body: Uint8Array;
}

export interface SecretResponse {
  readonly nonce: string;
  /** Of everything that the client is subscribed to. */
  readonly version: string;
  readonly secrets: readonly NamedSecret[];
}

/** `google.rpc.Status`. */
function refusalOf(status: Uint8Array): string {
  let message = "";
  readFields(status, { 2: (value) => (message = textOf(value)) });
  return message;
}

/** `DiscoveryRequest`: the state of the world. */
export function decodeRequest(bytes: Uint8Array): SecretRequest {
  const names: string[] = [];
  let typeUrl = "";
  let nonce = "";
  let refusal: string | undefined;
  readFields(bytes, {
    3: (value) => names.push(textOf(value)),
    4: (value) => (typeUrl = textOf(value)),
    5: (value) => (nonce = textOf(value)),
    6: (value) => (refusal = refusalOf(value)),
  });
  return { typeUrl, nonce, refusal, wanted: { kind: "all", names } };
}

/** An entry of a `map<string, string>`. */
function entryOf(entry: Uint8Array): readonly [string, string] {
  let key = "";
  let text = "";
  readFields(entry, { 1: (value) => (key = textOf(value)), 2: (value) => (text = textOf(value)) });
  return [key, text];
}

/** `DeltaDiscoveryRequest`. */
export function decodeDeltaRequest(bytes: Uint8Array): SecretRequest {
  const subscribe: string[] = [];
  const unsubscribe: string[] = [];
  const held = new Map<string, string>();
  let typeUrl = "";
  let nonce = "";
  let refusal: string | undefined;
  readFields(bytes, {
    2: (value) => (typeUrl = textOf(value)),
    3: (value) => subscribe.push(textOf(value)),
    4: (value) => unsubscribe.push(textOf(value)),
    5: (value) => held.set(...entryOf(value)),
    6: (value) => (nonce = textOf(value)),
    7: (value) => (refusal = refusalOf(value)),
  });
  return { typeUrl, nonce, refusal, wanted: { kind: "change", subscribe, unsubscribe, held } };
}

/** `google.protobuf.Any`. */
const anyOf = ({ body }: NamedSecret): Message => [
  [1, SECRET_TYPE_URL],
  [2, body],
];

/** `DiscoveryResponse`. */
export function encodeResponse({ nonce, version, secrets }: SecretResponse): Buffer {
  return encodeMessage([[1, version], ...secrets.map((secret) => [2, anyOf(secret)] as const), [4, SECRET_TYPE_URL], [5, nonce]]);
}

/** `DeltaDiscoveryResponse`. */
export function encodeDeltaResponse({ nonce, version, secrets }: SecretResponse): Buffer {
  const resource = (secret: NamedSecret): Message => [
    [1, secret.version],
    [2, anyOf(secret)],
    [3, secret.name],
  ];
  return encodeMessage([[1, version], ...secrets.map((secret) => [2, resource(secret)] as const), [4, SECRET_TYPE_URL], [5, nonce]]);
}

/** `DataSource` with inline bytes. */
const inline = (text: string): Message => [[2, Buffer.from(text)]];

/** `Secret` with a `TlsCertificate`; both in PEM. */
export function encodeKeyAndChain(name: string, chain: string, privateKey: string): Buffer {
  return encodeMessage([
    [1, name],
    [
      2,
      [
        [1, inline(chain)],
        [2, inline(privateKey)],
      ],
    ],
  ]);
}

const SPIFFE_VALIDATOR = "envoy.tls.cert_validator.spiffe";
const SPIFFE_VALIDATOR_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

/** `Secret` with a `CertificateValidationContext` by which the roots of a trust domain (PEM) verify identities of that domain alone. */
export function encodeBoundRoots(name: string, bundles: ReadonlyMap<string, string>): Buffer {
  const trustDomains = [...bundles].map(([trustDomain, roots]): Message[number] => [
    1,
    [
      [1, trustDomain],
      [2, inline(roots)],
    ],
  ]);
  const validator: Message = [
    [1, SPIFFE_VALIDATOR],
    [
      2,
      [
        [1, SPIFFE_VALIDATOR_TYPE],
        [2, trustDomains],
      ],
    ],
  ];
  return encodeMessage([
    [1, name],
    [4, [[12, validator]]],
  ]);
}

/** `Secret` with a `CertificateValidationContext`; PEM. With revocation lists a leaf is refused that one names, or whose issuer has none. */
export function encodeTrustedRoots(name: string, roots: string, revocationLists = ""): Buffer {
  const revoked: Message =
    revocationLists === ""
      ? []
      : [
          [7, inline(revocationLists)],
          [14, true],
        ];
  return encodeMessage([
    [1, name],
    [4, [[1, inline(roots)], ...revoked]],
  ]);
}
