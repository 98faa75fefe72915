/**
 * What Envoy's access log entries say, as records. Which field tells what, as seen with Envoy 1.40 under the configuration that
 * `render/envoy` makes, stands in the table of `render/envoy/access-log.ts`.
 */
import { RequestMethod } from "../gen/envoy/config/core/v3/base_pb.js";
import {
  type AccessLogCommon,
  AccessLogType,
  type HTTPAccessLogEntry,
  type HTTPRequestProperties,
  type TCPAccessLogEntry,
} from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import {
  base,
  type EntrySource,
  GATEWAY,
  listenerOf,
  NO_REQUEST,
  OUTSIDE,
  portOf,
  presentedUri,
  REFUSED,
  SERVER_FIRST,
  serviceOfCluster,
} from "./als-fields.ts";
import { auditOf, dryRunOf, HTTP_RBAC, httpVerdict, TCP_RBAC, tcpVerdict } from "./als-verdict.ts";
import { type EntryMeaning, type NewAuditRecord, pathOnly } from "./record.ts";

const NOTHING: EntryMeaning = { kind: "nothing" };

const TLS_ERROR = /^TLS_error:?\|(?:error:)?[0-9a-fA-F]+:SSL routines:OPENSSL_internal:(.*):TLS_error_end$/s;

// === Decisions ===

/** The field has a few methods only, and other Envoys' logs may be without the header. */
function methodOf(request: HTTPRequestProperties | undefined): string {
  const header = request?.requestHeaders[":method"];
  if (header !== undefined) return header;
  if (request === undefined || request.requestMethod === RequestMethod.METHOD_UNSPECIFIED) return "";
  return RequestMethod[request.requestMethod] ?? "";
}

function requestOf({ request, response }: HTTPAccessLogEntry) {
  return {
    method: methodOf(request),
    path: pathOnly(request?.path ?? ""),
    host: request?.authority ?? "",
    status: response?.responseCode ?? 0,
    bytesReceived: Number(request?.requestBodyBytes ?? 0n),
    bytesSent: Number(response?.responseBodyBytes ?? 0n),
  };
}

function inboundHttp(entry: HTTPAccessLogEntry, common: AccessLogCommon, from: EntrySource): NewAuditRecord {
  const verdict = httpVerdict(common, entry.response?.responseCodeDetails ?? "");
  return {
    ...base(common, from),
    ...requestOf(entry),
    ...verdict,
    ...dryRunOf(common, HTTP_RBAC, verdict),
    protocol: "http",
    service: from.log.startsWith(GATEWAY) ? serviceOfCluster(common) : from.serviceOf(from.workload, from.log, portOf(common)),
    caller: from.log.endsWith(OUTSIDE) ? "" : presentedUri(common),
    audit: auditOf(common, HTTP_RBAC),
  };
}

/** A peer that has read what the server says first, and was never decided on. */
const GREETED = { effect: "refused", origin: "", detail: "it left when the server had spoken, before it said anything" } as const;

/** An allowed connection has two entries, when the application is connected to and at its end; every other has one. */
function inboundTcp({ connectionProperties }: TCPAccessLogEntry, common: AccessLogCommon, from: EntrySource): EntryMeaning {
  const verdict = tcpVerdict(common, from);
  const bytesReceived = Number(connectionProperties?.receivedBytes ?? 0n);
  const bytesSent = Number(connectionProperties?.sentBytes ?? 0n);
  const { streamId, accessLogType, upstreamLocalAddress } = common;
  const opened = accessLogType === AccessLogType.TcpUpstreamConnected;
  const serverFirst = from.log.endsWith(SERVER_FIRST);
  if (verdict.effect === "allow" && !opened) {
    if (upstreamLocalAddress !== undefined && !serverFirst) {
      const { workload, durationMicros } = base(common, from);
      return { kind: "end", end: { workload, connection: streamId, bytesReceived, bytesSent, durationMicros } };
    }
    // Filters of a connection are asked with its first byte: without one, nothing was decided.
    if (bytesReceived === 0 && !serverFirst) return NOTHING;
  }
  const record: NewAuditRecord = {
    ...base(common, from),
    ...NO_REQUEST,
    ...(serverFirst && bytesReceived === 0 && verdict.effect === "allow" ? GREETED : verdict),
    ...dryRunOf(common, TCP_RBAC, verdict),
    bytesReceived,
    bytesSent,
    protocol: "tcp",
    service: from.serviceOf(from.workload, listenerOf(from), portOf(common)),
    caller: presentedUri(common),
    audit: auditOf(common, TCP_RBAC),
    ...(opened ? { connection: streamId } : {}),
  };
  return { kind: "record", record };
}

// === Refusals ===

/** A TLS failure without Envoy's brackets around it. */
function tlsReason(reason: string): string {
  const [, inner] = TLS_ERROR.exec(reason) ?? [];
  return inner ?? reason;
}

function refusedInboundReason(common: AccessLogCommon, log: string): string {
  if (common.responseFlags?.noRouteFound === true) {
    if (log.startsWith(GATEWAY))
      return common.tlsProperties === undefined ? "no TLS where TLS is required" : "no server has the name that the client asks for";
    return common.tlsProperties === undefined
      ? "plaintext where mutual TLS is required"
      : "TLS that is not the mesh's: no filter chain fits it";
  }
  const reason = tlsReason(common.downstreamTransportFailureReason);
  const uri = presentedUri(common);
  const presented = uri === "" || reason.includes(uri) ? "" : ` (it presented \`${uri}\`, which is not proven)`;
  return `the TLS handshake failed: ${reason}${presented}`;
}

/** Before the handshake is done nobody has an identity, whatever the certificate says. */
function refusedInbound(common: AccessLogCommon, from: EntrySource): NewAuditRecord {
  return {
    ...base(common, from),
    ...NO_REQUEST,
    protocol: "tcp",
    service: from.serviceOf(from.workload, listenerOf(from), portOf(common)),
    caller: "",
    bytesReceived: 0,
    bytesSent: 0,
    effect: "refused",
    origin: "",
    detail: refusedInboundReason(common, from.log),
    audit: [],
  };
}

/** The workload itself asked, and no server proved to be the one that it should be. */
function refusedOutbound(common: AccessLogCommon, request: ReturnType<typeof requestOf> | undefined, from: EntrySource): NewAuditRecord {
  return {
    ...base(common, from),
    ...(request ?? { ...NO_REQUEST, bytesReceived: 0, bytesSent: 0 }),
    protocol: request === undefined ? "tcp" : "http",
    service: serviceOfCluster(common),
    caller: from.identity,
    effect: "refused",
    origin: "",
    detail: `the server's identity was refused: ${tlsReason(common.upstreamTransportFailureReason)}`,
    audit: [],
  };
}

/** What an HTTP entry means. Intermediate entries mean nothing: a request is recorded at its end. */
export function readHttpEntry(entry: HTTPAccessLogEntry, from: EntrySource): EntryMeaning {
  const { commonProperties: common } = entry;
  if (common === undefined || common.intermediateLogEntry) return NOTHING;
  const record = from.log.endsWith(REFUSED) ? refusedOutbound(common, requestOf(entry), from) : inboundHttp(entry, common, from);
  return { kind: "record", record };
}

/** What a TCP entry means. */
export function readTcpEntry(entry: TCPAccessLogEntry, from: EntrySource): EntryMeaning {
  const { commonProperties: common } = entry;
  if (common === undefined) return NOTHING;
  if (!from.log.endsWith(REFUSED)) return inboundTcp(entry, common, from);
  return {
    kind: "record",
    record: common.upstreamTransportFailureReason === "" ? refusedInbound(common, from) : refusedOutbound(common, undefined, from),
  };
}
