/** What of a message's header belongs to one connection, and what is the proxy's to say. */
import type { HeaderList } from "./message.ts";

/** RFC 9110 §7.6.1 and the older ones that clients still send. They end here, in both directions. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "te",
  "upgrade",
  "http2-settings",
]);

/** What the proxy answers for itself: the authority travels apart, and who the peer is only the handshake can say. */
const OWN: ReadonlySet<string> = new Set(["host", "expect", "x-forwarded-client-cert"]);
/** Envoy's control headers; from a peer they would steer the proxies behind this one (CVE-2023-27487). */
const INTERNAL = "x-envoy-";

/** What is read from the header on the way. */
export interface SanitizedRequest {
  /** Without Content-Length too: the framing of what is forwarded is written anew, from what was understood. */
  readonly headers: string[];
  readonly hosts: readonly string[];
  readonly contentLength: string | undefined;
  readonly transferEncoding: string | undefined;
  readonly expect: string | undefined;
  readonly forwardedProto: boolean;
}

/** Header names that `Connection` declares to end here as well. */
function nominated(connection: string): ReadonlySet<string> | undefined {
  const names = connection
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "close" && name !== "" && !HOP_BY_HOP.has(name));
  return names.length === 0 ? undefined : new Set(names);
}

function without(headers: readonly string[], names: ReadonlySet<string>): string[] {
  return headers.filter((_, index) => !names.has(headers[index & ~1] ?? ""));
}

/** One pass over a request's header as the parser gave it. Pseudo-headers of HTTP/2 are not among it. */
export function sanitizeRequest(raw: readonly string[]): SanitizedRequest {
  const headers: string[] = [];
  const hosts: string[] = [];
  const special = new Map<string, string>();
  let forwardedProto = false;
  for (let index = 0; index < raw.length; index += 2) {
    const name = (raw[index] ?? "").toLowerCase();
    const value = raw[index + 1] ?? "";
    if (name === "host") hosts.push(value);
    else if (HOP_BY_HOP.has(name) || name === "expect" || name === "content-length")
      special.set(name, special.has(name) ? `${special.get(name)},${value}` : value);
    else if (!OWN.has(name) && !name.startsWith(INTERNAL)) {
      if (name === "x-forwarded-proto") forwardedProto = true;
      headers.push(name, value);
    }
  }
  const te = special.get("te");
  if (te !== undefined && /(^|,)\s*trailers\s*(,|$)/i.test(te)) headers.push("te", "trailers");
  const connection = special.get("connection");
  const dropped = connection === undefined ? undefined : nominated(connection);
  return {
    headers: dropped === undefined ? headers : without(headers, dropped),
    hosts,
    contentLength: special.get("content-length"),
    transferEncoding: special.get("transfer-encoding"),
    expect: special.get("expect"),
    forwardedProto,
  };
}

/** A response's header without what belongs to the connection that it came by. `raw` has names in lower case. */
export function sanitizeResponse(raw: HeaderList): HeaderList {
  let dropped: ReadonlySet<string> | undefined;
  let touched = false;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] ?? "";
    if (!HOP_BY_HOP.has(name)) continue;
    touched = true;
    if (name === "connection") dropped = nominated(raw[index + 1] ?? "") ?? dropped;
  }
  if (!touched) return raw;
  const kept = without(raw, HOP_BY_HOP);
  return dropped === undefined ? kept : without(kept, dropped);
}

const NEVER_IN_TRAILERS: ReadonlySet<string> = new Set([...HOP_BY_HOP, ...OWN, "content-length", "authorization", "cookie", "set-cookie"]);

/** Trailers without what would change how the message is read or who sent it (RFC 9110 §6.5.1). Also brings names to lower case. */
export function sanitizeTrailers(raw: readonly string[]): HeaderList {
  if (raw.length === 0) return raw;
  const names = raw.map((text, index) => (index % 2 === 0 ? text.toLowerCase() : text));
  return names.filter((_, index) => {
    const name = names[index & ~1] ?? "";
    return !NEVER_IN_TRAILERS.has(name) && !name.startsWith(INTERNAL) && !name.startsWith(":");
  });
}

/** The list without these names, which are in lower case. */
export function withoutNames(headers: HeaderList, names: readonly string[]): HeaderList {
  return headers.filter((_, index) => !names.includes(headers[index & ~1] ?? ""));
}

/** The values of a name, which is in lower case. */
export function valuesOf(headers: HeaderList, name: string): readonly string[] {
  const values: string[] = [];
  for (let index = 0; index < headers.length; index += 2) if (headers[index] === name) values.push(headers[index + 1] ?? "");
  return values;
}
