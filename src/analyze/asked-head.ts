/** A test's request as proxies read it: its header in lines, with its tokens where they stand. */
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import { fromByteText, toByteText } from "../policy/byte-text.ts";
import type { HttpFacts } from "../policy/decision.ts";
import type { TestRequest } from "./test-request.ts";
import type { Claims, TestToken } from "./test-token.ts";

/** What of a request tokens can stand in. */
export interface AskedHead {
  readonly method: string;
  /** Normalized; the query is empty or begins with `?`. */
  readonly path: { readonly path: string; readonly query: string };
  /** Name, value, name, value; names in lower case, values with a character for each byte. Without Host. */
  readonly headers: readonly string[];
}

function textOf(token: TestToken, tokenOf: (claims: Claims) => string): string {
  return token.kind === "raw" ? token.text : tokenOf(token.claims);
}

function withHeader(headers: ReadonlyMap<string, readonly string[]>, name: string, value: string): ReadonlyMap<string, readonly string[]> {
  return new Map([...headers, [name, [...(headers.get(name) ?? []), value]]]);
}

/** HTTP/2 joins cookies where HTTP/1 forbids several (RFC 9113 §8.2.3). */
function withCookie(headers: ReadonlyMap<string, readonly string[]>, pair: string): ReadonlyMap<string, readonly string[]> {
  return new Map([...headers, ["cookie", [[...(headers.get("cookie") ?? []), pair].join("; ")]]]);
}

function withParam(path: string, name: string, value: string): string {
  const hash = path.indexOf("#");
  const [before, fragment] = hash < 0 ? [path, ""] : [path.slice(0, hash), path.slice(hash)];
  return `${before}${before.includes("?") ? "&" : "?"}${encodeURIComponent(name)}=${encodeURIComponent(value)}${fragment}`;
}

/**
 * The request with the X-Forwarded-For that trusted proxies would write for its client: they stand one behind another, each at
 * the address that the connection comes from. Throws `invalid-argument` where the workload trusts none.
 */
export function withForwarded({ workload, numTrustedProxies = 0 }: WorkloadPolicy, request: TestRequest): TestRequest {
  const { remoteIp, sourceIp = "127.0.0.1", headers } = request;
  if (remoteIp === undefined) return request;
  if (numTrustedProxies === 0) {
    if (remoteIp === sourceIp) return request;
    throw new AppError("invalid-argument", `the proxy of \`${workload}\` trusts no other to name the client`, {
      help: "its client is where the connection comes from: use `sourceIp`, or let it trust proxies by `numTrustedProxies`",
    });
  }
  const elements = [remoteIp, ...Array.from({ length: numTrustedProxies - 1 }, () => sourceIp)];
  return {
    ...request,
    headers: new Map([...headers, ["x-forwarded-for", [...(headers.get("x-forwarded-for") ?? []), elements.join(", ")]]]),
  };
}

/** The request with its tokens in it; `tokenOf` makes the text of one that is given by its claims. */
export function withTokens(request: TestRequest, tokenOf: (claims: Claims) => string): TestRequest {
  let { headers, path } = request;
  for (const token of request.tokens) {
    const [text, { place }] = [textOf(token, tokenOf), token];
    if (place.kind === "header") headers = withHeader(headers, place.name, `${place.prefix}${text}`);
    else if (place.kind === "cookie") headers = withCookie(headers, `${place.name}=${text}`);
    else path = withParam(path, place.name, text);
  }
  return { ...request, headers, path, tokens: [] };
}

/** The header in lines. */
export function headOf({ method, headers }: TestRequest, path: AskedHead["path"]): AskedHead {
  return { method, path, headers: [...headers].flatMap(([name, values]) => values.flatMap((value) => [name, toByteText(value)])) };
}

/** What rules see of it. Host counts among the headers, as proxies have it. */
export function httpFactsOf({ method, path, headers: lines }: AskedHead, host: string): HttpFacts {
  const headers = new Map<string, string[]>();
  for (let at = 0; at < lines.length; at += 2) {
    const [name = "", value = ""] = [lines[at], lines[at + 1]];
    headers.set(name, [...(headers.get(name) ?? []), fromByteText(value) ?? value]);
  }
  return { method, path: path.path, host, headers: headers.set("host", [host]) };
}
