/** What the proxy answers by itself, worded as Envoy words it, so that clients and people meet one behaviour. */

import { isAnswerable } from "./authorizer-verdict.ts";
import { valuesOf, withoutNames } from "./headers.ts";
import { type HeaderList, NO_HEADERS, type RequestHead, type Responder } from "./message.ts";

/** Envoy's body for a denied request. */
export const ACCESS_DENIED = "RBAC: access denied";

/** HTTP to gRPC, as Envoy's local replies have it (grpc/doc/http-grpc-status-mapping.md). */
const GRPC_STATUS: Readonly<Record<number, number>> = { 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14 };
const GRPC_UNKNOWN = 2;

function isGrpc(requestHeaders: HeaderList): boolean {
  return valuesOf(requestHeaders, "content-type").some((type) => /^application\/grpc(?:$|[+;])/.test(type));
}

/** Sends a whole response; to a gRPC client one that it understands. `more` are headers besides. Answers the HTTP status that was sent. */
export function replyLocally(
  responder: Responder,
  status: number,
  text: string,
  requestHeaders: HeaderList,
  more: HeaderList = NO_HEADERS,
): number {
  if (isGrpc(requestHeaders)) {
    const grpcStatus = String(GRPC_STATUS[status] ?? GRPC_UNKNOWN);
    const headers = ["content-type", "application/grpc", "grpc-status", grpcStatus, "grpc-message", encodeURI(text), ...more];
    responder.head({ status: 200, headers, hasBody: false, mayHaveTrailers: false });
    responder.end(NO_HEADERS);
    return 200;
  }
  const body = Buffer.from(text);
  const headers = ["content-type", "text/plain", "content-length", String(body.length), ...more];
  responder.head({ status, headers, hasBody: body.length > 0, mayHaveTrailers: false });
  responder.data(body);
  responder.end(NO_HEADERS);
  return status;
}

/** An answer that somebody else has written. */
export interface GivenAnswer {
  readonly status: number;
  readonly headers: HeaderList;
  readonly body: Buffer;
}

/** Sends an authorizer's answer; to a gRPC client one that it understands. `more` are headers besides, in place of its own. Answers the HTTP status that was sent. */
export function replyWith(
  responder: Responder,
  { status, headers: given, body }: GivenAnswer,
  { method, headers: asked }: RequestHead,
  more: HeaderList = NO_HEADERS,
): number {
  const kept = given.filter((_, index) => isAnswerable(given[index & ~1] ?? ""));
  const headers = [
    ...withoutNames(
      kept,
      more.filter((_, index) => index % 2 === 0),
    ),
    ...more,
  ];
  if (isGrpc(asked)) {
    const rest = headers.filter((_, index) => headers[index & ~1] !== "content-type");
    return replyLocally(responder, status, body.toString("utf8"), asked, rest);
  }
  const bodyless = status === 204 || status === 304;
  const typed = body.length === 0 || headers.includes("content-type") ? headers : ["content-type", "text/plain", ...headers];
  const length = bodyless ? [] : ["content-length", String(body.length)];
  const hasBody = body.length > 0 && !bodyless && method !== "HEAD";
  responder.head({ status, headers: [...typed, ...length], hasBody, mayHaveTrailers: false });
  if (hasBody) responder.data(body);
  responder.end(NO_HEADERS);
  return status;
}
