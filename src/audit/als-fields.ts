/** What both kinds of entries of Envoy's access logs have in common, and by what their logs are named. */
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { TLS_GROUP_TAG } from "../compile/mesh-alpn.ts";
import type { Address } from "../gen/envoy/config/core/v3/address_pb.js";
import type { AccessLogCommon } from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import { formatTls } from "./envoy-tls.ts";

/** What is known of an entry from the stream that it came by. */
export interface EntrySource {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** The workload's own SPIFFE ID: it is the caller of what goes out. */
  readonly identity: string;
  /** `LISTENER`, or `LISTENER/refused`, `/own-tls`, `/server-first`, `/outside`. */
  readonly log: string;
  /** `NAMESPACE/NAME` of the service that an inbound listener of a workload serves, or its port in the one that all its ports share; or empty. */
  readonly serviceOf: (workload: string, listener: string, port: number) => string;
}

export const REFUSED = "/refused";

/** Of a gateway: clients that are not of the mesh, whatever their certificates say. */
export const OUTSIDE = "/outside";

/** Of a protocol that begins with the server: its connections have one entry, at their end. */
export const SERVER_FIRST = "/server-first";

/** Of the application's own TLS: nobody's certificate was seen. */
export const OWN_TLS = "/own-tls";

export const GATEWAY = "gateway_";

const OUTBOUND_CLUSTER = /^outbound\|\d+\|[^|]*\|([a-z0-9-]+)\.([a-z0-9-]+)\.svc\./;

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

export function portOf({ downstreamLocalAddress }: AccessLogCommon): number {
  return socketOf(downstreamLocalAddress).port;
}

/** The URI name of the certificate that the peer presented; proven only where the handshake succeeded. */
export function presentedUri({ tlsProperties }: AccessLogCommon): string {
  const names = tlsProperties?.peerCertificateProperties?.subjectAltName ?? [];
  return names.map(({ san }) => (san.case === "uri" ? san.value : "")).find((uri) => uri !== "") ?? "";
}

export function metadataText(common: AccessLogCommon, filter: string, key: string): string {
  const value = common.metadata?.filterMetadata[filter]?.[key];
  return typeof value === "string" ? value : "";
}

/** The listener of a log, whatever of it the log is for. */
export function listenerOf({ log }: EntrySource): string {
  return log.replace(/\/[a-z-]+$/, "");
}

/** What is the same in every record of an entry. */
export function base(common: AccessLogCommon, { workload }: EntrySource) {
  return {
    time: toMillis(common.startTime),
    reporter: "envoy",
    workload,
    sourceIp: socketOf(common.downstreamDirectRemoteAddress).ip,
    port: portOf(common),
    durationMicros: toMicros(common.duration),
    tls: formatTls(common.tlsProperties, common.customTags[TLS_GROUP_TAG]),
  } as const;
}

export const NO_REQUEST = { method: "", path: "", host: "", status: 0 } as const;

/** `NAMESPACE/NAME` of the service that was asked, or empty. */
export function serviceOfCluster({ upstreamCluster }: AccessLogCommon): string {
  const [, name = "", namespace = ""] = OUTBOUND_CLUSTER.exec(upstreamCluster) ?? [];
  return name === "" ? "" : `${namespace}/${name}`;
}
