/** The request of a test: who asks a workload's proxy, from where, and for what. */
import { parseServiceAccount, parseSpiffeId } from "../identity/spiffe-id.ts";
import type { AuthorizerAnswer } from "../policy/decision.ts";
import { providerName } from "../policy/decode/extension-provider.ts";
import { type Cursor, type Decoder, integer, list, mapOf, record, stringUpTo, text, wrong } from "../policy/decode/reader.ts";
import { ipAddress, matching, oneOf } from "../policy/decode/refine.ts";
import { quote } from "../policy/decode/report.ts";
import { parseIpAddress } from "../policy/ip-block.ts";
import { readTokens, type TestToken } from "./test-token.ts";

export interface TestRequest {
  /** A SPIFFE ID proved by mutual TLS, NAMESPACE/SERVICE-ACCOUNT for one of the mesh's own, or undefined for plaintext. */
  readonly from: string | undefined;
  /** At a gateway: over TLS, by no identity of the mesh, with whatever certificate the server asks of its clients; `from` is undefined. */
  readonly outsider?: true;
  /** The workload's port; undefined where it has but one. */
  readonly port: number | undefined;
  /** `http2` is asked over HTTP/2 also where the port's protocol is HTTP; `http` in the version that the port has. */
  readonly protocol: "http" | "http2" | "tcp" | undefined;
  readonly method: string;
  /** As sent, before normalization. */
  readonly path: string;
  /** Undefined sends the service's own name. */
  readonly host: string | undefined;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  /** The server name of the TLS handshake; undefined sends none. */
  readonly sni: string | undefined;
  /** Where the connection comes from; undefined is 127.0.0.1. */
  readonly sourceIp: string | undefined;
  /** What extension providers answer, by name: they cannot be asked. */
  readonly authorizers?: ReadonlyMap<string, AuthorizerAnswer>;
  /** The client, as the proxies that the workload trusts tell it; undefined where none does. */
  readonly remoteIp: string | undefined;
  /** Besides what stands among the headers. */
  readonly tokens: readonly TestToken[];
}

const MAX_HEADERS = 100;
const MAX_HEADER_CHARACTERS = 16_384;

const PLAINTEXT = Symbol("plaintext");
const OUTSIDER = Symbol("outsider");

const caller: Decoder<string | typeof PLAINTEXT | typeof OUTSIDER> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  if (value === "plaintext") return PLAINTEXT;
  if (value === "outsider") return OUTSIDER;
  try {
    if (value.includes("://")) parseSpiffeId(value);
    else parseServiceAccount(value);
    return value;
  } catch {
    return wrong(
      cursor,
      "GAR0007",
      `is not a caller: ${quote(value)}`,
      "write NAMESPACE/SERVICE-ACCOUNT such as `shop/cart`, a SPIFFE ID such as `spiffe://cluster.local/ns/shop/sa/cart`, `plaintext`, or `outsider` at a gateway",
    );
  }
};

// === The request line ===

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/;

const method = matching(
  (value) => TOKEN.test(value) && value !== "CONNECT",
  "a method that a test can ask with",
  "write a method such as `GET`, as it is sent; proxies do not take CONNECT",
);

/**
 * A line's end would make two requests of one, the absolute form says a host a second time, HTTP/1 drops white space at the
 * ends, and HTTP/2 escapes what is not ASCII where HTTP/1 refuses it.
 */
const path = matching(
  (value) => !/[\r\n]|[^\0-\x7f]|^\s|\s$/.test(value) && !/^[a-z][a-z0-9+.-]*:\/\//i.test(value),
  "a request's path",
  "write the path as clients send it, such as `/photos?page=2`, in ASCII, and the host into `host`",
);

/** Proxies take user information in one version of HTTP and not in the other. */
const host = matching(
  (value) => !/[\r\n@]/.test(value),
  "a request's host",
  "write it as `photos.example.org` or `photos.example.org:8080`",
);

/** Whatever clients may write there (RFC 6066 §3 has DNS names, and no addresses), which no space or control character is. */
const serverName = matching(
  (value) => /^[!-~]{1,253}$/.test(value) && parseIpAddress(value) === undefined,
  "a server name",
  "write a DNS name, such as `photos.example.org`",
);

// === Headers ===

/** What a connection, its framing or the proxy writes: what a client says of it is not what policies see. */
const NOT_THE_CLIENTS: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  "x-forwarded-client-cert",
  "x-forwarded-proto",
  "x-request-id",
]);

const headerName: Decoder<string> = (cursor) => {
  const name = text(cursor)?.toLowerCase();
  if (name === undefined) return undefined;
  if (!TOKEN.test(name)) return wrong(cursor, "GAR0007", `is not a header name: ${quote(name)}`);
  if (name === "host") return wrong(cursor, "GAR0007", "cannot stand among the headers: `host`", "write it into the field `host`");
  if (!NOT_THE_CLIENTS.has(name) && !name.startsWith("x-envoy-")) return name;
  return wrong(cursor, "GAR0007", `cannot be set by a test: ${quote(name)}`, "remove it: proxies write it themselves or hand it to nobody");
};

const anyText = stringUpTo(MAX_HEADER_CHARACTERS);

/** RFC 9110 §5.5: no control characters, no white space at the ends. */
const headerValue: Decoder<string> = (cursor) => {
  const value = anyText(cursor);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (value === undefined || !/[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]$/.test(value)) return value;
  const help = "remove control characters, and white space at the ends: neither is a part of a header's value";
  return wrong(cursor, "GAR0007", `is not a header's value: ${quote(value)}`, help);
};

const severalValues = list(headerValue, { min: 1, max: MAX_HEADERS });

/** One value, or a list for a header that comes several times. */
const headerValues: Decoder<readonly string[]> = (cursor) => {
  if (cursor.node.kind === "list") return severalValues(cursor);
  const value = headerValue(cursor);
  return value === undefined ? undefined : [value];
};

const namedHeaders = mapOf(headerName, headerValues, { max: MAX_HEADERS });

/** Names are compared in lower case, so that a name may stand once; and HTTP/2 joins cookies where HTTP/1 forbids several (RFC 9113 §8.2.3). */
const headers: Decoder<ReadonlyMap<string, readonly string[]>> = (cursor) => {
  const decoded = namedHeaders(cursor);
  if (decoded === undefined) return undefined;
  if (cursor.node.kind === "map" && decoded.size < cursor.node.entries.length)
    return wrong(cursor, "GAR0007", "has a name twice", "give the name a list of its values");
  if ((decoded.get("cookie")?.length ?? 0) > 1)
    return wrong(cursor, "GAR0007", "has several values of `cookie`", "write them as one, such as `a=1; b=2`");
  return decoded;
};

const NO_HEADERS: ReadonlyMap<string, readonly string[]> = new Map();

// === The whole ===

const MAX_AUTHORIZERS = 64;

const answers = mapOf(providerName, oneOf(["allow", "deny"]), { max: MAX_AUTHORIZERS });

function checkServerName(cursor: Cursor, from: string | symbol | undefined, sni: string | undefined): void {
  if (from === PLAINTEXT && sni !== undefined)
    wrong(cursor, "GAR0007", "has both `from: plaintext` and `sni`", "remove `sni`: only TLS has a server name");
}

export const testRequest: Decoder<TestRequest> = record((fields): TestRequest => {
  const from = fields.required(
    "from",
    caller,
    "say who asks: NAMESPACE/SERVICE-ACCOUNT, a SPIFFE ID, `plaintext`, or `outsider` at a gateway",
  );
  const sni = fields.optional("sni", serverName);
  checkServerName(fields.cursor, from, sni);
  const authorizers = fields.optional("authorizers", answers);
  return {
    from: typeof from === "string" ? from : undefined,
    ...(from === OUTSIDER ? { outsider: true } : {}),
    port: fields.optional("port", integer(1, 65_535)),
    protocol: fields.optional("protocol", oneOf(["http", "http2", "tcp"])),
    method: fields.optional("method", method) ?? "GET",
    path: fields.optional("path", path) ?? "/",
    host: fields.optional("host", host),
    headers: fields.optional("headers", headers) ?? NO_HEADERS,
    sni,
    sourceIp: fields.optional("sourceIp", ipAddress),
    ...(authorizers === undefined ? {} : { authorizers }),
    remoteIp: fields.optional("remoteIp", ipAddress),
    tokens: readTokens(fields),
  };
});
