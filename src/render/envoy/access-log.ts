/**
 * Access logs for the control plane (ALS): what every inbound request and connection was, which rule decided it, and
 * what was refused before there was anything to decide. Seen with Envoy 1.40:
 *
 * | log name              | entries | what came of it           | where the entry says so                                              |
 * |-----------------------|---------|---------------------------|----------------------------------------------------------------------|
 * | `LISTENER` (HTTP)     | HTTP    | allowed by a rule         | metadata `envoy.filters.http.rbac` `enforced_effective_policy_id`     |
 * |                       |         | allowed, no policy        | the same without that key, and not denied                            |
 * |                       |         | denied by a rule          | `response_code_details` `rbac_access_denied_matched_policy[ID]`       |
 * |                       |         | denied by default         | the same with `[none]`                                               |
 * |                       |         | denied by an authorizer   | `ext_authz_denied`, `ext_authz_error`; the last                      |
 * |                       |         |                           | `istio_ext_authz_shadow_effective_policy_id` of the metadata        |
 * |                       |         | an AUDIT rule matched too | the same metadata, `audit_shadow_effective_policy_id`                |
 * | `LISTENER` (TCP)      | TCP     | allowed                   | type `TcpUpstreamConnected`: at once; `TcpConnectionEnd`: once more, |
 * |                       |         |                           | with `upstream_local_address` and the bytes                          |
 * |                       |         | … by a rule               | metadata `envoy.filters.network.rbac` `allow_shadow_effective_policy_id` |
 * |                       |         | denied by a rule, default | `connection_termination_details`, as above                           |
 * |                       |         | denied by an authorizer   | response flag `unauthorized_details`; the last                      |
 * |                       |         |                           | `istio_ext_authz_N_shadow_effective_policy_id` of the metadata      |
 * |                       |         | never asked (no byte came)| type `TcpConnectionEnd`, neither of these                            |
 * | `LISTENER/own-tls`    | TCP     | as above; other TLS than  |                                                                      |
 * |                       |         | the mesh's, not read      |                                                                      |
 * | `LISTENER/server-first` | TCP   | as above, at its end      | no `TcpUpstreamConnected`: nothing is decided when it connects       |
 * | `LISTENER/refused`    | TCP     | TLS handshake failed      | `downstream_transport_failure_reason`                                |
 * | (inbound)             |         | no chain (not mutual TLS) | response flag `no_route_found`                                       |
 * | `LISTENER/refused`    | HTTP or | the server was not the    | `upstream_transport_failure_reason`                                  |
 * | (outbound)            | TCP     | one that it should be     |                                                                      |
 *
 * A gateway's listeners have the same logs; requests of outsiders are in `LISTENER/outside`, so that no name in their
 * certificates is taken for a caller's.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { TLS_GROUP_TAG } from "../../compile/mesh-alpn.ts";
import {
  type AccessLog,
  type AccessLogFilter,
  AccessLogFilterSchema,
  AccessLogSchema,
} from "../../gen/envoy/config/accesslog/v3/accesslog_pb.js";
import { ApiVersion } from "../../gen/envoy/config/core/v3/config_source_pb.js";
import { ExpressionFilterSchema } from "../../gen/envoy/extensions/access_loggers/filters/cel/v3/cel_pb.js";
import {
  type CommonGrpcAccessLogConfigSchema,
  HttpGrpcAccessLogConfigSchema,
  TcpGrpcAccessLogConfigSchema,
} from "../../gen/envoy/extensions/access_loggers/grpc/v3/als_pb.js";
import { CustomTagSchema } from "../../gen/envoy/type/tracing/v3/custom_tag_pb.js";
import { duration, namedConfig } from "./any.ts";
import { XDS_CLUSTER } from "./names.ts";

/** Envoy's entries name a few methods only: `PURGE` and `PROPFIND` are told by the header alone. */
const METHOD = ":method";

/**
 * The group of the key exchange, of which the entry's own fields say nothing. `CustomTag.value` (6), a format string, is a field that Envoy
 * has (1.39 and later, with this operator) and the generated messages lack.
 */
function keyExchange() {
  const tag = create(CustomTagSchema, { tag: TLS_GROUP_TAG });
  tag.$unknown = [{ no: 6, wireType: WireType.LengthDelimited, data: new BinaryWriter().string("%DOWNSTREAM_TLS_GROUP%").finish() }];
  return tag;
}

/** Seconds until a record leaves the proxy. */
const FLUSH_INTERVAL = 0.1;

function common(logName: string): { readonly commonConfig: MessageInitShape<typeof CommonGrpcAccessLogConfigSchema> } {
  const grpcService = { targetSpecifier: { case: "envoyGrpc", value: { clusterName: XDS_CLUSTER } } } as const;
  const customTags = [keyExchange()];
  return {
    commonConfig: { logName, transportApiVersion: ApiVersion.V3, bufferFlushInterval: duration(FLUSH_INTERVAL), grpcService, customTags },
  };
}

function httpEntries(logName: string) {
  return namedConfig("envoy.access_loggers.http_grpc", HttpGrpcAccessLogConfigSchema, {
    ...common(logName),
    additionalRequestHeadersToLog: [METHOD],
  });
}

function tcpEntries(logName: string) {
  return namedConfig("envoy.access_loggers.tcp_grpc", TcpGrpcAccessLogConfigSchema, common(logName));
}

function when(expression: string): AccessLogFilter {
  const filter = namedConfig("envoy.access_loggers.extension_filters.cel", ExpressionFilterSchema, { expression });
  return create(AccessLogFilterSchema, { filterSpecifier: { case: "extensionFilter", value: filter } });
}

/**
 * A reason alone does not tell: the TLS inspector also leaves one on plaintext that a PERMISSIVE port accepts, and a peer that
 * resets its connection, whenever it does, leaves one of the system.
 */
const HANDSHAKE_FAILED =
  "has(connection.tls_version) && has(connection.transport_failure_reason) && !connection.transport_failure_reason.contains('system library')";
const UPSTREAM_HANDSHAKE_FAILED = "upstream.transport_failure_reason.startsWith('TLS_error')";

/** Every inbound request. */
export function httpLog(listener: string): AccessLog {
  return create(AccessLogSchema, httpEntries(listener));
}

/** Of the application's own TLS, which a PERMISSIVE port of TCP passes on. */
export function ownTlsLogName(listener: string): string {
  return `${listener}/own-tls`;
}

/** Where the application is connected to before the client's first byte is decided on. */
export function serverFirstLogName(listener: string): string {
  return `${listener}/server-first`;
}

/** Every inbound TCP connection whose handshake succeeded. */
export function tcpLog(listener: string): AccessLog {
  return create(AccessLogSchema, { ...tcpEntries(listener), filter: when(`!(${HANDSHAKE_FAILED})`) });
}

/** Inbound connections that no filter ever saw: no filter chain fits (flag NR), or the handshake failed. */
export function refusedInboundLog(listener: string): AccessLog {
  const noChain = create(AccessLogFilterSchema, { filterSpecifier: { case: "responseFlagFilter", value: { flags: ["NR"] } } });
  const filter = create(AccessLogFilterSchema, {
    filterSpecifier: { case: "orFilter", value: { filters: [noChain, when(HANDSHAKE_FAILED)] } },
  });
  return create(AccessLogSchema, { ...tcpEntries(`${listener}/refused`), filter });
}

/** Outbound requests that failed because no server proved to be the right one. */
export function refusedOutboundHttpLog(listener: string): AccessLog {
  return create(AccessLogSchema, { ...httpEntries(`${listener}/refused`), filter: when(UPSTREAM_HANDSHAKE_FAILED) });
}

/** The same for outbound TCP connections. */
export function refusedOutboundTcpLog(listener: string): AccessLog {
  return create(AccessLogSchema, { ...tcpEntries(`${listener}/refused`), filter: when(UPSTREAM_HANDSHAKE_FAILED) });
}
