/**
 * What Envoy's access log entries say, as records. Which field tells what, as seen with Envoy 1.40 under the configuration that
 * `render/envoy` makes, stands in the table of `render/envoy/access-log.ts`.
 */
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { OWN_TLS_PASSED } from "../compile/mesh-alpn.ts";
import type { Address } from "../gen/envoy/config/core/v3/address_pb.js";
import { RequestMethod } from "../gen/envoy/config/core/v3/base_pb.js";
import {
  type AccessLogCommon,
  AccessLogType,
  type HTTPAccessLogEntry,
  type HTTPRequestProperties,
  ResponseFlags_Unauthorized_Reason,
  type TCPAccessLogEntry,
} from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import { type Because, formatBecause } from "../policy/decision.ts";
import { asIfEnforced, DRY_RUN_PREFIX } from "../policy/dry-run.ts";
import { formatOrigin, parseEnvoyCustomId, parseEnvoyPolicyId, parseOrigin, REVOKED } from "../policy/origin.ts";
import { formatTls } from "./envoy-tls.ts";
import { type ConnectionEnd, type DryRunRecord, type Effect, type NewAuditRecord, pathOnly } from "./record.ts";

/** What is known of an entry from the stream that it came by. */
export interface EntrySource {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** The workload's own SPIFFE ID: it is the caller of what goes out. */
  readonly identity: string;
  /** `LISTENER`, or `LISTENER/refused`, `/own-tls`, `/outside`. */
  readonly log: string;
  /** `NAMESPACE/NAME` of the service that an inbound listener of a workload serves, or its port in the one that all its ports share; or empty. */
  readonly serviceOf: (workload: string, listener: string, port: number) => string;
}

/** An entry is a record, the end of a connection that is recorded already, or neither. */
export type EntryMeaning =
  | { readonly kind: "record"; readonly record: NewAuditRecord }
  | { readonly kind: "end"; readonly end: ConnectionEnd }
  | { readonly kind: "nothing" };

const NOTHING: EntryMeaning = { kind: "nothing" };
const REFUSED = "/refused";
/** Of a gateway: clients that are not of the mesh, whatever their certificates say. */
const OUTSIDE = "/outside";
/** Of the application's own TLS: nobody's certificate was seen. */
const OWN_TLS = "/own-tls";
const GATEWAY = "gateway_";
const DENIED = /^rbac_access_denied_matched_policy\[(.*)\]$/s;
/** The token filter says why in words, its blanks as underscores. */
const TOKEN_REFUSED = /^jwt_authn_access_denied\{(.*)\}$/;
const TLS_ERROR = /^TLS_error:?\|(?:error:)?[0-9a-fA-F]+:SSL routines:OPENSSL_internal:(.*):TLS_error_end$/s;
const OUTBOUND_CLUSTER = /^outbound\|\d+\|[^|]*\|([a-z0-9-]+)\.([a-z0-9-]+)\.svc\./;
/** An authorizer's denial, or that it could not be asked. */
const NOT_ALLOWED = /^ext_authz_(denied|error|invalid)/;
/** Which CUSTOM rule matched: of requests under the one key, of connections under that of their authorizer's place. */
const CUSTOM_MARK = /^istio_ext_authz_(?:\d+_)?shadow_effective_policy_id$/;
const HTTP_RBAC = "envoy.filters.http.rbac";
const TCP_RBAC = "envoy.filters.network.rbac";

// === Fields that both kinds of entry have ===

function toMillis(time: Timestamp | undefined): number {
  return time === undefined ? 0 : Number(time.seconds) * 1000 + Math.floor(time.nanos / 1_000_000);
}

function toMicros(duration: Duration | undefined): number {
  return duration === undefined ? 0 : Number(duration.seconds) * 1_000_000 + Math.round(duration.nanos / 1000);
}

function socketOf(address: Address | undefined): { readonly ip: string; readonly port: number } {
  if (address?.address.case !== "socketAddress") return { ip: "", port: 0 };
  const { value } = address.address;
  return { ip: value.address, port: value.portSpecifier.case === "portValue" ? value.portSpecifier.value : 0 };
}

function portOf({ downstreamLocalAddress }: AccessLogCommon): number {
  return socketOf(downstreamLocalAddress).port;
}

/** The URI name of the certificate that the peer presented; proven only where the handshake succeeded. */
function presentedUri({ tlsProperties }: AccessLogCommon): string {
  const names = tlsProperties?.peerCertificateProperties?.subjectAltName ?? [];
  return names.map(({ san }) => (san.case === "uri" ? san.value : "")).find((uri) => uri !== "") ?? "";
}

function metadataText(common: AccessLogCommon, filter: string, key: string): string {
  const value = common.metadata?.filterMetadata[filter]?.[key];
  return typeof value === "string" ? value : "";
}

/** `NAMESPACE/POLICY[RULE]` of an Envoy policy id; any other id as it is, so that nothing is lost. */
function originOf(policyId: string): string {
  const origin = parseEnvoyPolicyId(policyId);
  return origin === undefined ? policyId : formatOrigin(origin);
}

function auditOf(common: AccessLogCommon, filter: string): readonly string[] {
  const id = metadataText(common, filter, "audit_shadow_effective_policy_id");
  return id === "" ? [] : [originOf(id)];
}

/** The listener of a log, whatever of it the log is for. */
function listenerOf({ log }: EntrySource): string {
  return log.replace(/\/[a-z-]+$/, "");
}

/** What is the same in every record of an entry. */
function base(common: AccessLogCommon, { workload }: EntrySource) {
  return {
    time: toMillis(common.startTime),
    reporter: "envoy",
    workload,
    sourceIp: socketOf(common.downstreamDirectRemoteAddress).ip,
    port: portOf(common),
    durationMicros: toMicros(common.duration),
    tls: formatTls(common.tlsProperties),
  } as const;
}

/** What dry runs would make of a verdict; the keys are there only where they were asked, and so a DENY or ALLOW rule decided. */
function dryRunOf(common: AccessLogCommon, filter: string, { effect, origin }: Verdict): DryRunRecord {
  const told = (list: keyof typeof DRY_RUN_PREFIX, key: string) => metadataText(common, filter, `${DRY_RUN_PREFIX[list]}shadow_${key}`);
  if (effect === "refused" || origin === formatOrigin(REVOKED) || told("deny", "engine_result") === "") return {};
  const matched = (list: keyof typeof DRY_RUN_PREFIX) => parseEnvoyPolicyId(told(list, "effective_policy_id"));
  const allow = told("allow", "engine_result") === "" ? undefined : (matched("allow") ?? "none");
  const verdict = asIfEnforced({ effect, because: becauseOf(effect, origin) }, { deny: matched("deny"), allow });
  return { dryRun: verdict.effect, dryRunOrigin: formatBecause(verdict.because) };
}

/** Why, of the text of an origin. */
function becauseOf(effect: "allow" | "deny", text: string): Because {
  const origin = parseOrigin(text);
  if (origin === undefined) return { kind: effect === "deny" ? "default" : "no-policy" };
  return { kind: "rule", action: effect === "deny" ? "DENY" : "ALLOW", origin };
}

const NO_REQUEST = { method: "", path: "", host: "", status: 0 } as const;

/** `NAMESPACE/NAME` of the service that was asked, or empty. */
function serviceOfCluster({ upstreamCluster }: AccessLogCommon): string {
  const [, name = "", namespace = ""] = OUTBOUND_CLUSTER.exec(upstreamCluster) ?? [];
  return name === "" ? "" : `${namespace}/${name}`;
}

// === Decisions ===

/** What a gateway answers itself to a request that it may take. */
const OWN_ANSWERS: ReadonlySet<string> = new Set(["route_not_found", "direct_response"]);

interface Verdict {
  readonly effect: Effect;
  readonly origin: string;
  readonly detail: string;
}

/** The verdict that a denial's text holds; undefined for any other text. */
function denial(details: string): Verdict | undefined {
  const [, id] = DENIED.exec(details) ?? [];
  return id === undefined ? undefined : { effect: "deny", origin: id === "none" ? "default" : originOf(id), detail: "" };
}

/** The last mark is of the rule that was asked last, and so of the one that was refused. */
function refusedCustom(common: AccessLogCommon, filter: string, how: string): Verdict {
  const marks = Object.entries(common.metadata?.filterMetadata[filter] ?? {}).filter(([key]) => CUSTOM_MARK.test(key));
  const [, id] = marks.sort(([left], [right]) => (left < right ? -1 : 1)).at(-1) ?? [];
  const custom = typeof id === "string" ? parseEnvoyCustomId(id) : undefined;
  const provider = custom === undefined ? "an authorizer" : `provider ${custom.provider}`;
  return { effect: "deny", origin: custom === undefined ? "" : formatOrigin(custom.origin), detail: `${provider} ${how}` };
}

/** The verdict of an authorizer on a request; undefined where another one decided. */
function httpRefusal(common: AccessLogCommon, details: string): Verdict | undefined {
  const [, how] = NOT_ALLOWED.exec(details) ?? [];
  if (how === undefined) return undefined;
  return refusedCustom(common, HTTP_RBAC, how === "denied" ? "denies" : "could not be asked");
}

/** The same of a connection, of which Envoy does not tell one from the other. */
function tcpRefusal(common: AccessLogCommon): Verdict | undefined {
  const { reason } = common.responseFlags?.unauthorizedDetails ?? {};
  if (reason !== ResponseFlags_Unauthorized_Reason.EXTERNAL_SERVICE) return undefined;
  return refusedCustom(common, TCP_RBAC, "denies, or could not be asked");
}

function httpVerdict(common: AccessLogCommon, details: string): Verdict {
  const denied = denial(details) ?? httpRefusal(common, details);
  if (denied !== undefined) return denied;
  const [, token] = TOKEN_REFUSED.exec(details) ?? [];
  if (token !== undefined) return { effect: "refused", origin: "", detail: token.replaceAll("_", " ") };
  const detail = details === "via_upstream" ? "" : details;
  if (common.responseFlags?.noFilterConfigFound === true) return { effect: "refused", origin: "", detail: "the proxy has no policy yet" };
  const rule = metadataText(common, HTTP_RBAC, "enforced_effective_policy_id");
  if (rule !== "") return { effect: "allow", origin: originOf(rule), detail };
  if (OWN_ANSWERS.has(details)) return { effect: "allow", origin: "no-policy", detail };
  // Only what every filter has let pass has a cluster, or one of the gateway's own answers; without one the request ended before it was decided (malformed, aborted).
  if (common.upstreamCluster === "")
    return { effect: "refused", origin: "", detail: detail === "" ? "the request ended before it was decided" : detail };
  return { effect: "allow", origin: "no-policy", detail };
}

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

/** The rule that let a TCP connection pass: the network filter tells it as a shadow rule's. */
function tcpVerdict(common: AccessLogCommon, { log }: EntrySource): Verdict {
  const denied = denial(common.connectionTerminationDetails) ?? tcpRefusal(common);
  if (denied !== undefined) return denied;
  const rule = metadataText(common, TCP_RBAC, "allow_shadow_effective_policy_id");
  const own = log.endsWith(OWN_TLS) ? OWN_TLS_PASSED : "";
  return { effect: "allow", origin: rule === "" ? "no-policy" : originOf(rule), detail: common.upstreamTransportFailureReason || own };
}

/** An allowed connection has two entries, when the application is connected to and at its end; every other has one. */
function inboundTcp({ connectionProperties }: TCPAccessLogEntry, common: AccessLogCommon, from: EntrySource): EntryMeaning {
  const verdict = tcpVerdict(common, from);
  const bytesReceived = Number(connectionProperties?.receivedBytes ?? 0n);
  const bytesSent = Number(connectionProperties?.sentBytes ?? 0n);
  const { streamId, accessLogType, upstreamLocalAddress } = common;
  const opened = accessLogType === AccessLogType.TcpUpstreamConnected;
  if (verdict.effect === "allow" && !opened) {
    if (upstreamLocalAddress !== undefined) {
      const { workload, durationMicros } = base(common, from);
      return { kind: "end", end: { workload, connection: streamId, bytesReceived, bytesSent, durationMicros } };
    }
    // Filters of a connection are asked with its first byte: without one, nothing was decided.
    if (bytesReceived === 0) return NOTHING;
  }
  const record: NewAuditRecord = {
    ...base(common, from),
    ...NO_REQUEST,
    ...verdict,
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
