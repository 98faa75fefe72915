/** An element of Istio's `MeshConfig.extensionProviders`: the two kinds that authorize, and no other. */
import type { ExtensionProvider, ExtensionProviderFields, HttpExtensionProvider, RequestBodyCheck } from "../extension-provider.ts";
import { parseStringMatch, type StringMatch } from "../pattern.ts";
import { duration } from "./duration.ts";
import { isDnsLabel, isDnsSubdomain } from "./kubernetes-name.ts";
import { LIMITS } from "./limits.ts";
import { boolean, type Decoder, type Fields, list, mapOf, protoInteger, record, stringUpTo, text, wrong } from "./reader.ts";
import { matching } from "./refine.ts";
import { quote } from "./report.ts";

type ProviderName = Pick<ExtensionProvider, "name" | "place">;

const DEFAULT_TIMEOUT_MS = 600_000;
const MAX_TIMEOUT_MS = 3_600_000;
const DEFAULT_STATUS = 403;
const MAX_BODY_BYTES = 64 << 20;
const MAX_HEADERS = 256;

// === Fields of both kinds ===

/** VA-3 wants it where a policy names it: a DNS label. */
export const providerName = matching(isDnsLabel, "a provider's name", "write lower-case letters, digits and `-`, at most 63");

const SERVICE_HELP = "write `NAME.NAMESPACE.svc.cluster.local`, or `NAMESPACE/HOST` for a host of a ServiceEntry";

const service: Decoder<ExtensionProvider["service"]> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const [first = "", second, ...rest] = value.toLowerCase().split("/");
  const [namespace, host] = second === undefined ? [undefined, first] : [first, second];
  const good = rest.length === 0 && isDnsSubdomain(host) && (namespace === undefined || isDnsLabel(namespace));
  return good ? { namespace, host } : wrong(cursor, "GAR0007", `is not a service: ${quote(value)}`, SERVICE_HELP);
};

const timeout = duration({ leastMs: 1, maxMs: MAX_TIMEOUT_MS, help: "write it as `5s` or `250ms`, from 1ms to 1h" });

/** A text in Istio's API, whose values Envoy's list of statuses bounds. */
const statusOnError: Decoder<number> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const status = /^\d{3}$/.test(value) ? Number(value) : 0;
  if (STATUSES.has(status)) return status;
  return wrong(
    cursor,
    "GAR0007",
    `is not a status that a proxy answers with: ${quote(value)}`,
    'write it in quotes, such as "403" or "503"',
  );
};

/** RFC 9110 §15, as far as Envoy knows them (`envoy.type.v3.StatusCode`), from 200 on. */
const STATUSES: ReadonlySet<number> = new Set([
  ...[200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308],
  ...[400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 426, 428, 429, 431],
  ...[500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511],
]);

const requestBody: Decoder<RequestBodyCheck> = record((fields) => {
  const maxRequestBytes = fields.required(
    "maxRequestBytes",
    protoInteger(1, MAX_BODY_BYTES),
    "say how many bytes the authorizer may be shown",
  );
  const allowPartialMessage = fields.optional("allowPartialMessage", boolean) ?? false;
  const packAsBytes = fields.optional("packAsBytes", boolean) ?? false;
  return maxRequestBytes === undefined ? undefined : { maxRequestBytes, allowPartialMessage, packAsBytes };
});

function readShared(fields: Fields, named: ProviderName): ExtensionProviderFields | undefined {
  const at = fields.required("service", service, SERVICE_HELP);
  const port = fields.required("port", protoInteger(1, 65_535));
  const rest = {
    timeoutMs: fields.optional("timeout", timeout) ?? DEFAULT_TIMEOUT_MS,
    failOpen: fields.optional("failOpen", boolean) ?? false,
    statusOnError: fields.optional("statusOnError", statusOnError) ?? DEFAULT_STATUS,
    clearRouteCache: fields.optional("clearRouteCache", boolean) ?? false,
    includeRequestBodyInCheck: fields.optional("includeRequestBodyInCheck", requestBody),
  };
  return at === undefined || port === undefined ? undefined : { ...named, service: at, port, ...rest };
}

// === Fields of HTTP ===

const TOKEN = "[!#$%&'+.^_`|~0-9A-Za-z-]";
/** A name, or the beginning or end of one: `x-auth-*`, `*-user`, `*`. */
const HEADER_PATTERN = new RegExp(`^(?:\\*|${TOKEN}{1,256}\\*?|\\*${TOKEN}{1,256})$`);

const headerPattern: Decoder<StringMatch> = (cursor) => {
  const good = matching((value) => HEADER_PATTERN.test(value), "a header's name", "write it as `x-user`, or with a `*` at one end")(cursor);
  return good === undefined ? undefined : parseStringMatch(good.toLowerCase());
};

const headerPatterns = list(headerPattern, { max: MAX_HEADERS });

/** What frames the request, or is said elsewhere, cannot be said by a header as well. */
const FRAMING = /^(?:host|content-length|transfer-encoding|connection|keep-alive|proxy-connection|te|trailer|upgrade|expect)$/;

const additionalName: Decoder<string> = (cursor) => {
  const name = matching((value) => new RegExp(`^${TOKEN}{1,256}$`).test(value), "a header's name", "write it as `x-environment`")(cursor);
  if (name === undefined || !FRAMING.test(name.toLowerCase())) return name?.toLowerCase();
  return wrong(cursor, "GAR0007", `is a header that the proxy itself writes: ${quote(name)}`, "choose another one");
};

/** Visible ASCII and spaces. Envoy reads `%` as the beginning of a variable, which nobody else does. */
const additionalValue: Decoder<string> = (cursor) => {
  const value = stringUpTo(LIMITS.text)(cursor);
  if (value === undefined) return undefined;
  if (!/^[\x20-\x7e]*$/.test(value)) return wrong(cursor, "GAR0007", "has characters that no header may have");
  return value.includes("%") ? wrong(cursor, "GAR0004", "has a `%`, and variables are not supported") : value;
};

const pathPrefix = matching(
  (value) => /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@/]*$/.test(value),
  "a path",
  "begin it with `/`, as in `/check`, without query and escapes",
);

/** The newer name wins, as in Istio. */
function readIncluded(fields: Fields): readonly StringMatch[] {
  const older = fields.optional("includeHeadersInCheck", headerPatterns) ?? [];
  const newer = fields.optional("includeRequestHeadersInCheck", headerPatterns) ?? [];
  return newer.length > 0 ? newer : older;
}

function http(named: ProviderName): Decoder<HttpExtensionProvider> {
  return record((fields) => {
    const shared = readShared(fields, named);
    const additional = fields.optional("includeAdditionalHeadersInCheck", mapOf(additionalName, additionalValue, { max: MAX_HEADERS }));
    const own = {
      pathPrefix: fields.optional("pathPrefix", pathPrefix) ?? "",
      includeRequestHeadersInCheck: readIncluded(fields),
      includeAdditionalHeadersInCheck: [...(additional ?? [])].map(([name, value]) => ({ name, value })),
      headersToUpstreamOnAllow: fields.optional("headersToUpstreamOnAllow", headerPatterns) ?? [],
      headersToDownstreamOnDeny: fields.optional("headersToDownstreamOnDeny", headerPatterns) ?? [],
      headersToDownstreamOnAllow: fields.optional("headersToDownstreamOnAllow", headerPatterns) ?? [],
    };
    return shared === undefined ? undefined : { kind: "http", ...shared, ...own };
  });
}

function grpc(named: ProviderName): Decoder<ExtensionProvider> {
  return record((fields) => {
    const shared = readShared(fields, named);
    return shared === undefined ? undefined : { kind: "grpc", ...shared };
  });
}

// === The element ===

const UNSUPPORTED_KINDS = [
  ...["zipkin", "lightstep", "datadog", "stackdriver", "opencensus", "skywalking", "opentelemetry", "prometheus"],
  ...["envoyFileAccessLog", "envoyHttpAls", "envoyTcpAls", "envoyOtelAls", "sds"],
] as const;

const UNSUPPORTED = Object.fromEntries(
  UNSUPPORTED_KINDS.map((kind) => [kind, "only providers that authorize are supported: `envoyExtAuthzHttp` and `envoyExtAuthzGrpc`"]),
);

/** One provider with its name; undefined if anything of it is wrong. Names must be unique, which the list's reader checks. */
export const extensionProvider: Decoder<ExtensionProvider> = record((fields) => {
  const name = fields.required("name", providerName);
  const { place } = fields.cursor.node;
  const named = { name: name ?? "", place };
  const asHttp = fields.optional("envoyExtAuthzHttp", http(named));
  const asGrpc = fields.optional("envoyExtAuthzGrpc", grpc(named));
  fields.refuse(UNSUPPORTED);
  const both = fields.has("envoyExtAuthzHttp") && fields.has("envoyExtAuthzGrpc");
  const neither = !fields.has("envoyExtAuthzHttp") && !fields.has("envoyExtAuthzGrpc");
  const unsupported = UNSUPPORTED_KINDS.some((kind) => fields.has(kind));
  if (both) return wrong(fields.cursor, "GAR0007", "has both `envoyExtAuthzHttp` and `envoyExtAuthzGrpc`", "keep one of them");
  if (neither && !unsupported)
    return wrong(fields.cursor, "GAR0005", "has neither `envoyExtAuthzHttp` nor `envoyExtAuthzGrpc`", "add one of them");
  return name === undefined ? undefined : (asHttp ?? asGrpc);
});
