/** What an authorizer is asked about, and how it is said in `envoy.service.auth.v3.CheckRequest`. */
import { randomUUID } from "node:crypto";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import type { AttributeContext_HttpRequestSchema, AttributeContext_PeerSchema } from "../gen/envoy/service/auth/v3/attribute_context_pb.js";
import { type CheckRequest, CheckRequestSchema } from "../gen/envoy/service/auth/v3/external_auth_pb.js";
import { formatPem } from "../x509/pem.ts";
import type { PeerConnection } from "./client-facts.ts";
import { valuesOf } from "./headers.ts";
import type { HeaderList, RequestHead } from "./message.ts";

/** As much of a request's body as an authorizer is shown. */
export interface ShownBody {
  readonly bytes: Buffer;
  /** There is more of it. */
  readonly partial: boolean;
}

export interface Check {
  readonly connection: PeerConnection;
  /** The workload's own SPIFFE ID. */
  readonly identity: string;
  /** Undefined for a connection of TCP. */
  readonly head: RequestHead | undefined;
  /** Undefined where none is shown. */
  readonly body: ShownBody | undefined;
}

/** Protobuf has text in UTF-8 only; Envoy puts a `!` for what is not. */
function asText(bytes: Buffer): string {
  return bytes.toString("utf8").replaceAll("\ufffd", "!");
}

function headerText(value: string): string {
  return asText(Buffer.from(value, "latin1"));
}

function address(ip: string, port: number): NonNullable<MessageInitShape<typeof AttributeContext_PeerSchema>["address"]> {
  return { address: { case: "socketAddress", value: { address: ip, portSpecifier: { case: "portValue", value: port } } } };
}

/** The certificate as Envoy writes it: its PEM, with all that is special in a URL escaped. */
function certificateOf(der: Uint8Array): string {
  return encodeURIComponent(formatPem("CERTIFICATE", der));
}

function sourceOf({ peer, sourceIp, sourcePort }: PeerConnection): MessageInitShape<typeof AttributeContext_PeerSchema> {
  const proven = peer === undefined ? {} : { principal: peer.identity, certificate: certificateOf(peer.certificate) };
  return { address: address(sourceIp, sourcePort), ...proven };
}

/** With the names under which HTTP/2 has the request line; all values of one name joined. */
function headersOf({ method, authority, path, headers, bodyLength }: RequestHead, scheme: string): Record<string, string> {
  const all = new Map<string, string>([
    [":authority", authority],
    [":method", method],
    [":path", path.path + path.query],
    [":scheme", scheme],
  ]);
  if (bodyLength !== undefined && bodyLength > 0) all.set("content-length", String(bodyLength));
  addHeaders(all, headers);
  return Object.fromEntries(all);
}

function addHeaders(all: Map<string, string>, headers: HeaderList): void {
  for (let index = 0; index < headers.length; index += 2) {
    const [name = "", value = ""] = [headers[index], headerText(headers[index + 1] ?? "")];
    const before = all.get(name);
    all.set(name, before === undefined ? value : `${before},${value}`);
  }
}

function httpOf(
  head: RequestHead,
  body: ShownBody | undefined,
  packAsBytes: boolean,
): MessageInitShape<typeof AttributeContext_HttpRequestSchema> {
  const [scheme = "http"] = valuesOf(head.headers, "x-forwarded-proto");
  const headers = headersOf(head, scheme);
  if (body !== undefined) headers["x-envoy-auth-partial-body"] = String(body.partial);
  const shown = body === undefined ? {} : packAsBytes ? { rawBody: body.bytes } : { body: asText(body.bytes) };
  return {
    id: randomUUID(),
    method: head.method,
    headers,
    path: head.path.path + head.path.query,
    host: head.authority,
    scheme,
    protocol: head.version === "2" ? "HTTP/2" : "HTTP/1.1",
    size: BigInt(head.bodyLength ?? -1),
    ...shown,
  };
}

/** The message that asks. */
export function toCheckRequest({ connection, identity, head, body }: Check, packAsBytes: boolean): CheckRequest {
  const { destinationIp, destinationPort, sni } = connection;
  const http = head === undefined ? {} : { http: httpOf(head, body, packAsBytes) };
  return create(CheckRequestSchema, {
    attributes: {
      source: sourceOf(connection),
      destination: { address: address(destinationIp, destinationPort), ...(connection.peer === undefined ? {} : { principal: identity }) },
      request: { time: timestampNow(), ...http },
      ...(sni === "" ? {} : { tlsSession: { sni } }),
    },
  });
}
