/** Istio `networking.v1.VirtualService`, attached to gateways. */
import type { HttpRoute, RouteMatch, ScopedMatch, TextMatch } from "../gateway.ts";
import type { ObjectMeta, VirtualServiceObject } from "../model.ts";
import { hostPattern } from "./host-pattern.ts";
import { isDnsLabel, isDnsSubdomain } from "./kubernetes-name.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, type Fields, integer, list, mapOf, record, text, wrong } from "./reader.ts";
import { matching } from "./refine.ts";
import { quote } from "./report.ts";

// === Matches ===

const NO_REGEX = { regex: "regular expressions are not supported: use `exact` or `prefix`" };

/** Istio `StringMatch`; of headers an empty one is presence. */
const headerMatch: Decoder<TextMatch> = record((fields) => {
  const exact = fields.optional("exact", text);
  const prefix = fields.optional("prefix", text);
  fields.refuse(NO_REGEX);
  if (fields.has("exact") && fields.has("prefix")) return wrong(fields.cursor, "GAR0007", "has `exact` and `prefix`", "say one of them");
  if (exact !== undefined) return { kind: "exact", value: exact };
  return prefix === undefined ? { kind: "present" } : { kind: "prefix", value: prefix };
});

const textMatch: Decoder<NonNullable<RouteMatch["path"]>> = (cursor) => {
  const match = headerMatch(cursor);
  if (match?.kind !== "present") return match;
  return wrong(cursor, "GAR0005", "has neither `exact` nor `prefix`", "say one of them");
};

/** Query and fragment are no part of what is matched, so a value with them would match nothing. */
const pathMatch: Decoder<NonNullable<RouteMatch["path"]>> = (cursor) => {
  const match = textMatch(cursor);
  if (match === undefined || /^\/[^?#]*$/.test(match.value)) return match;
  return wrong(cursor, "GAR0007", `is not a path: ${quote(match.value)}`, "begin with `/`, and leave out query and fragment");
};

const headerName: Decoder<string> = (cursor) =>
  matching(
    (value) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/.test(value),
    "a header's name",
    "write it as `x-version`; for method, host and path there are `method`, `authority` and `uri`",
  )(cursor)?.toLowerCase();

const headers = mapOf(headerName, headerMatch, { max: LIMITS.routeValues });

function gatewayName(namespace: string): Decoder<string> {
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined) return undefined;
    if (value === "mesh") return wrong(cursor, "GAR0004", "is not supported: `mesh`", "routes are followed at gateways only: name one");
    const [first = "", second, ...rest] = value.split("/");
    const full = second === undefined ? `${namespace}/${first}` : value;
    const [owner = "", name = ""] = full.split("/");
    if (rest.length === 0 && isDnsLabel(owner) && isDnsSubdomain(name)) return full;
    return wrong(cursor, "GAR0007", `is not a Gateway: ${quote(value)}`, "write NAME or NAMESPACE/NAME");
  };
}

const UNSUPPORTED_OF_MATCH = {
  scheme: "a gateway's servers are either plaintext or TLS: use `port`",
  queryParams: "queries are not matched: use `uri` or `headers`",
  ignoreUriCase: "paths are matched with regard to case",
  withoutHeaders: "write a route before this one that matches the header",
  sourceLabels: "clients of gateways have no labels",
  sourceNamespace: "clients of gateways have no namespace: write an AuthorizationPolicy",
  statPrefix: "there are no metrics: remove the field",
};

function match(namespace: string): Decoder<ScopedMatch> {
  return record((fields) => {
    fields.optional("name", text);
    const read = {
      path: fields.optional("uri", pathMatch),
      method: fields.optional("method", textMatch),
      authority: fields.optional("authority", textMatch),
      headers: [...(fields.optional("headers", headers) ?? [])].map(([name, value]) => ({ name, value })),
      port: fields.optional("port", integer(1, 65_535)),
      gateways: fields.optional("gateways", list(gatewayName(namespace), { max: LIMITS.gateways })) ?? [],
    };
    fields.refuse(UNSUPPORTED_OF_MATCH);
    return read;
  });
}

// === Destinations ===

const destination: Decoder<HttpRoute["destination"]> = record((fields) => {
  const host = fields.required("host", matching(isDnsSubdomain, "a service", "write NAME, or NAME.NAMESPACE.svc.cluster.local"));
  const port = fields.optional(
    "port",
    record((inner) => inner.required("number", integer(1, 65_535))),
  );
  fields.refuse({ subset: "subsets are not supported: give each version a Service of its own" });
  return host === undefined ? undefined : { host, port, place: fields.cursor.node.place };
});

const weighted: Decoder<HttpRoute["destination"]> = record((fields) => {
  const read = fields.required("destination", destination);
  const weight = fields.optional("weight", integer(0, 100));
  if (weight === 0) wrong(fields.cursor, "GAR0007", "has the weight 0 and no other beside it", "remove `weight`");
  fields.refuse({ headers: "headers are not changed at gateways" });
  return read;
});

const UNSUPPORTED_OF_ROUTE = {
  redirect: "send requests on by `route`; to https by `httpsRedirect` of the Gateway",
  directResponse: "send requests on by `route`",
  delegate: "write the routes into this VirtualService",
  rewrite: "paths and hosts are sent on as they come",
  timeout: "there is no time limit for requests: remove the field",
  retries: "requests are sent again only where nobody can have processed them: remove the field",
  fault: "faults are not injected",
  mirror: "requests are not mirrored",
  mirrors: "requests are not mirrored",
  mirrorPercent: "requests are not mirrored",
  mirrorPercentage: "requests are not mirrored",
  corsPolicy: "let the application answer for CORS",
  headers: "headers are not changed at gateways",
};

function route(namespace: string): Decoder<HttpRoute> {
  const destinations = list(weighted, { min: 1, max: LIMITS.routeValues });
  return record((fields) => {
    const name = fields.optional("name", text) ?? "";
    const matches = fields.optional("match", list(match(namespace), { max: LIMITS.routeValues })) ?? [];
    fields.refuse(UNSUPPORTED_OF_ROUTE);
    const read = fields.required("route", destinations, "say where the requests go");
    const [only, another] = read ?? [];
    if (another !== undefined)
      return wrong(
        fields.cursor,
        "GAR0004",
        "has several destinations, which is not supported",
        "name one service: all of its endpoints are used alike",
      );
    return only === undefined ? undefined : { name, matches, destination: only };
  });
}

// === The whole ===

const UNSUPPORTED = {
  tls: "gateways carry HTTP only",
  tcp: "gateways carry HTTP only",
};

const NO_GATEWAYS = "name the Gateways that it is for: routes are followed at gateways only";

function spec(namespace: string): Decoder<Omit<VirtualServiceObject, "kind" | "meta">> {
  return record((fields: Fields) => {
    const hosts = fields.required("hosts", list(hostPattern, { min: 1, max: LIMITS.hosts }));
    const gateways = fields.required("gateways", list(gatewayName(namespace), { min: 1, max: LIMITS.gateways }), NO_GATEWAYS);
    const http = fields.required("http", list(route(namespace), { min: 1, max: LIMITS.routes }));
    // Nobody but gateways follows it, so it is visible to all that name it.
    fields.refuse({ ...UNSUPPORTED, exportTo: "say in the Gateway's `hosts` whose routes it takes, as NAMESPACE/HOST" });
    return hosts === undefined || gateways === undefined || http === undefined ? undefined : { hosts, gateways, http };
  });
}

export function decodeVirtualService(root: Fields, meta: ObjectMeta): VirtualServiceObject | undefined {
  const decoded = root.required("spec", spec(meta.namespace));
  return decoded === undefined ? undefined : { kind: "VirtualService", meta, ...decoded };
}
