/** From what a parser understood to a request that may be decided on and forwarded; whatever is ambiguous is refused. */
import { isTakenMethod } from "../policy/http-method.ts";
import type { PathNormalization } from "../policy/mesh-config.ts";
import { normalizePath } from "../render/decide/normalize-path.ts";
import { type SanitizedRequest, sanitizeRequest, valuesOf } from "./headers.ts";
import type { RequestHead } from "./message.ts";

/** A request as `node:http` or `node:http2` gave it. */
export interface RawRequest {
  readonly version: "1.0" | "1.1" | "2";
  readonly method: string;
  /** The request target of HTTP/1, or `:path`. */
  readonly target: string;
  /** `:authority`; undefined in HTTP/1. */
  readonly authority: string | undefined;
  readonly scheme: "http" | "https";
  /** As on the wire, without pseudo-headers. */
  readonly headers: readonly string[];
  /** HTTP/2: the request ended with its header. */
  readonly ended: boolean;
  /** HTTP/1.1: the parser handed the connection over to WebSocket. */
  readonly webSocket: boolean;
}

/** Why a request was not even asked of the policy. */
export interface Refusal {
  readonly refused: string;
  readonly status: number;
}

export interface CheckOptions {
  /** Header pairs at most. */
  readonly maxHeaders: number;
  /** What becomes of the path; undefined keeps it as it was written, for a proxy further on that normalizes. */
  readonly pathNormalization: PathNormalization | undefined;
  /** Whether a scheme that the header already names is believed. */
  readonly trustsScheme: boolean;
  /** What the proxy itself says of the peer; a client's own word for it is dropped. */
  readonly forwardedCertificate: string | undefined;
  /** At a gateway, the client's address: X-Forwarded-For gets it. */
  readonly client?: string | undefined;
}

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** RFC 3986 §3.2: a host, perhaps with a port; never user information. */
const AUTHORITY = /^[A-Za-z0-9\-._~!$&'()*+,;=%:[\]]*$/;
const LENGTH = /^\d{1,15}$/;
const ABSOLUTE_FORM = /^https?:\/\/([^/?#]+)(.*)$/is;

function refuse(status: number, refused: string): Refusal {
  return { status, refused };
}

/** The authority and the path of a target; for absolute-form the target's own authority replaces Host (RFC 9112 §3.2.2). */
function splitTarget(target: string): { readonly authority: string | undefined; readonly path: string } {
  if (target.startsWith("/")) return { authority: undefined, path: target };
  const [, authority, rest = ""] = ABSOLUTE_FORM.exec(target) ?? [];
  if (authority === undefined) return { authority: undefined, path: target };
  return { authority: authority.slice(authority.lastIndexOf("@") + 1), path: rest.startsWith("/") ? rest : `/${rest}` };
}

function authorityOf(raw: RawRequest, { hosts }: SanitizedRequest, inTarget: string | undefined): string | Refusal {
  if (hosts.length > 1) return refuse(400, "several Host headers");
  const [host] = hosts;
  const own = raw.authority ?? inTarget;
  if (raw.authority !== undefined && host !== undefined && host.toLowerCase() !== raw.authority.toLowerCase())
    return refuse(400, "Host and :authority differ");
  const authority = own ?? host;
  if (authority === undefined || authority === "") return refuse(400, "no Host header");
  return AUTHORITY.test(authority) ? authority : refuse(400, "malformed authority");
}

/** The length of the body; undefined for one that is chunked or, in HTTP/2, not declared. */
function bodyLengthOf(raw: RawRequest, { contentLength, transferEncoding }: SanitizedRequest): number | undefined | Refusal {
  if (transferEncoding !== undefined) {
    if (raw.version !== "1.1") return refuse(400, "Transfer-Encoding in a version without it");
    if (contentLength !== undefined) return refuse(400, "both Content-Length and Transfer-Encoding");
    return transferEncoding.toLowerCase() === "chunked" ? undefined : refuse(501, "a transfer coding other than chunked");
  }
  if (contentLength !== undefined) return LENGTH.test(contentLength) ? Number(contentLength) : refuse(400, "malformed Content-Length");
  return raw.version === "2" && !raw.ended ? undefined : 0;
}

function isRefusal(value: unknown): value is Refusal {
  return typeof value === "object" && value !== null && "refused" in value;
}

/** At a gateway: X-Forwarded-For with the client's address at its end, in one line, as Envoy writes it. */
function withClient(headers: readonly string[], client: string): string[] {
  const kept = headers.filter((_, index) => headers[index & ~1] !== "x-forwarded-for");
  return [...kept, "x-forwarded-for", [...valuesOf(headers, "x-forwarded-for"), client].join(",")];
}

/** The scheme by which a request came, whatever the peer says of it. */
function withScheme(headers: readonly string[], scheme: string): string[] {
  const kept = headers.filter((_, index) => headers[index & ~1] !== "x-forwarded-proto");
  return [...kept, "x-forwarded-proto", scheme];
}

/** The request to decide on, or why it is refused and with which status. */
export function checkRequest(raw: RawRequest, options: CheckOptions): RequestHead | Refusal {
  const { maxHeaders, pathNormalization, trustsScheme, forwardedCertificate, client } = options;
  if (raw.version === "1.0") return refuse(426, "HTTP/1.0");
  if (raw.method === "CONNECT") return refuse(405, "CONNECT");
  if (!TOKEN.test(raw.method)) return refuse(400, "malformed method");
  if (raw.headers.length > 2 * maxHeaders) return refuse(431, `more than ${maxHeaders} headers`);
  const sanitized = sanitizeRequest(raw.headers);
  if (!isTakenMethod(raw.method, raw.version === "2" ? "http2" : "http", valuesOf(sanitized.headers, "content-type")))
    return refuse(400, "a method that is not taken");
  const target = raw.version === "2" ? { authority: undefined, path: raw.target } : splitTarget(raw.target);
  const path = normalizePath(target.path, pathNormalization);
  if (path === undefined) return refuse(400, "malformed path");
  const authority = authorityOf(raw, sanitized, target.authority);
  if (isRefusal(authority)) return authority;
  const bodyLength = bodyLengthOf(raw, sanitized);
  if (isRefusal(bodyLength)) return bodyLength;
  if (raw.webSocket && (bodyLength !== 0 || raw.method !== "GET")) return refuse(400, "a WebSocket request with a body");
  const { expect } = sanitized;
  if (expect !== undefined && expect.toLowerCase() !== "100-continue") return refuse(417, "an unknown expectation");
  const schemed = trustsScheme && sanitized.forwardedProto ? sanitized.headers : withScheme(sanitized.headers, raw.scheme);
  const headers = client === undefined ? schemed : withClient(schemed, client);
  if (forwardedCertificate !== undefined) headers.push("x-forwarded-client-cert", forwardedCertificate);
  return {
    method: raw.method,
    version: raw.version,
    authority,
    path: pathNormalization === undefined ? { path: target.path, query: "" } : path,
    headers,
    bodyLength,
    webSocket: raw.webSocket,
    expectsContinue: expect !== undefined,
  };
}

export function isRefused(checked: RequestHead | Refusal): checked is Refusal {
  return "refused" in checked;
}
