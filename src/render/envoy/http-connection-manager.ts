/** The HTTP connection manager, inbound and outbound: what both have in common, and limits. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { AccessLog } from "../../gen/envoy/config/accesslog/v3/accesslog_pb.js";
import type { FilterSchema } from "../../gen/envoy/config/listener/v3/listener_components_pb.js";
import type { RouteConfigurationSchema } from "../../gen/envoy/config/route/v3/route_pb.js";
import { RouterSchema } from "../../gen/envoy/extensions/filters/http/router/v3/router_pb.js";
import {
  HttpConnectionManager_CodecType,
  HttpConnectionManager_ForwardClientCertDetails,
  HttpConnectionManager_PathWithEscapedSlashesAction,
  HttpConnectionManager_ServerHeaderTransformation,
  HttpConnectionManagerSchema,
  type HttpFilterSchema,
} from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import type { PathNormalization } from "../../policy/mesh-config.ts";
import { duration, namedConfig } from "./any.ts";
import { adsSource } from "./config-source.ts";
import { DENIED_BY_REPLIES, deniedByFilters } from "./denied-by.ts";

type FilterInit = MessageInitShape<typeof FilterSchema>;

export interface HttpSettings {
  /** The listener's name. */
  readonly name: string;
  /** A text: the name of routes that come apart (RDS), so that their changes leave connections as they are. */
  readonly routes: MessageInitShape<typeof RouteConfigurationSchema> | string;
  /** Before the router. */
  readonly filters: readonly MessageInitShape<typeof HttpFilterSchema>[];
  readonly accessLog: AccessLog;
}

const HOUR = 3600;

function routeSpecifier(routes: HttpSettings["routes"]) {
  if (typeof routes !== "string") return { case: "routeConfig", value: routes } as const;
  return { case: "rds", value: { routeConfigName: routes, configSource: adsSource() } } as const;
}

/**
 * Istio's defaults where an application could tell the difference, limits where it should not: an idle stream lives an
 * hour (watches and gRPC streams are idle for long), a request's headers must come within 30 s.
 */
function common({ name, routes, filters, accessLog }: HttpSettings) {
  return {
    statPrefix: name,
    codecType: HttpConnectionManager_CodecType.AUTO,
    routeSpecifier: routeSpecifier(routes),
    httpFilters: [...filters, namedConfig("envoy.filters.http.router", RouterSchema, {})],
    accessLog: [accessLog],
    serverHeaderTransformation: HttpConnectionManager_ServerHeaderTransformation.PASS_THROUGH,
    commonHttpProtocolOptions: { idleTimeout: duration(HOUR), maxHeadersCount: 100 },
    http2ProtocolOptions: { maxConcurrentStreams: 1024 },
    maxRequestHeadersKb: 60,
    streamIdleTimeout: duration(HOUR),
    requestHeadersTimeout: duration(30),
    // Nobody is internal (an empty list would mean every private address), so that nobody's `x-envoy-…` headers steer retries here.
    internalAddressConfig: { cidrRanges: [{ addressPrefix: "0.0.0.0", prefixLen: 32 }] },
    preserveExternalRequestId: true,
    upgradeConfigs: [{ upgradeType: "websocket" }],
  };
}

/** What is said of the HTTP of peers besides. */
export interface InboundHttpSettings extends HttpSettings {
  readonly tellsDenials: boolean | undefined;
  readonly pathNormalization: PathNormalization | undefined;
  readonly numTrustedProxies: number | undefined;
}

const { KEEP_UNCHANGED, UNESCAPE_AND_FORWARD } = HttpConnectionManager_PathWithEscapedSlashesAction;

/** Each mode does what the one before it does, and more (AZ-10). */
const NORMALIZATION = {
  NONE: { normalizePath: false, mergeSlashes: false, pathWithEscapedSlashesAction: KEEP_UNCHANGED },
  BASE: { normalizePath: true, mergeSlashes: false, pathWithEscapedSlashesAction: KEEP_UNCHANGED },
  MERGE_SLASHES: { normalizePath: true, mergeSlashes: true, pathWithEscapedSlashesAction: KEEP_UNCHANGED },
  DECODE_AND_MERGE_SLASHES: { normalizePath: true, mergeSlashes: true, pathWithEscapedSlashesAction: UNESCAPE_AND_FORWARD },
} as const satisfies Record<PathNormalization, object>;

/**
 * Of all that comes in: the path is normalized before it is matched and forwarded (AZ-10), who may name the client is said, and
 * what denied clients are told.
 */
function incoming(settings: InboundHttpSettings) {
  const { pathNormalization = "BASE", numTrustedProxies = 0, tellsDenials = false, filters } = settings;
  return {
    ...common(tellsDenials ? { ...settings, filters: [...deniedByFilters(), ...filters] } : settings),
    ...(tellsDenials ? { localReplyConfig: DENIED_BY_REPLIES } : {}),
    ...NORMALIZATION[pathNormalization],
    useRemoteAddress: true,
    xffNumTrustedHops: numTrustedProxies,
  };
}

/**
 * From peers. The client's address is the connection's
 * own, unless proxies in front are trusted to name it; X-Forwarded-For is passed on as it came. X-Forwarded-Client-Cert
 * holds the peer alone: Istio appends to what the peer sent, and an application that reads the first element then believes
 * a forged one.
 */
export function inboundHttp(settings: InboundHttpSettings): FilterInit {
  return namedConfig("envoy.filters.network.http_connection_manager", HttpConnectionManagerSchema, {
    ...incoming(settings),
    skipXffAppend: true,
    forwardClientCertDetails: HttpConnectionManager_ForwardClientCertDetails.SANITIZE_SET,
    setCurrentClientCertDetails: { uri: true },
  });
}

/** What Envoy advises at the edge: a client may not make the proxy keep much of it (its "configuring Envoy as an edge proxy"). */
const EDGE_HTTP2 = { maxConcurrentStreams: 100, initialStreamWindowSize: 65_536, initialConnectionWindowSize: 1_048_576 };

/**
 * At a gateway, which adds the client's address to X-Forwarded-For. A certificate of an outsider ends here: what it says
 * must not be taken for what the mesh says.
 */
export function gatewayHttp(settings: InboundHttpSettings, ofMesh: boolean): FilterInit {
  const { SANITIZE, SANITIZE_SET } = HttpConnectionManager_ForwardClientCertDetails;
  return namedConfig("envoy.filters.network.http_connection_manager", HttpConnectionManagerSchema, {
    ...incoming(settings),
    http2ProtocolOptions: EDGE_HTTP2,
    forwardClientCertDetails: ofMesh ? SANITIZE_SET : SANITIZE,
    setCurrentClientCertDetails: { uri: ofMesh },
  });
}

/** From the application: it cannot speak of client certificates, everything else is its own affair. */
export function outboundHttp(settings: HttpSettings): FilterInit {
  return namedConfig("envoy.filters.network.http_connection_manager", HttpConnectionManagerSchema, {
    ...common(settings),
    forwardClientCertDetails: HttpConnectionManager_ForwardClientCertDetails.SANITIZE,
  });
}
