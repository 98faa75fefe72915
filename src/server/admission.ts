/** Who may open a stream, and as what: the certificate must carry the identity of the workload that the node claims to be. */

import type { ReportingWorkload } from "../audit/reporting-stream.ts";
import type { TrustAnchors } from "../ca/authority.ts";
import { holderOf } from "../ca/client-certificate.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import type { AdmittedAgent } from "../rpc/agent-streams.ts";
import type { Admission } from "../xds/stream.ts";
import { formatProxyView, type ProxyKind, type ProxyView } from "./publisher.ts";

/** What a node says of itself; the rest of Envoy's `core.v3.Node` is not needed. */
export interface NodeClaim {
  readonly id: string;
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
}

/** A pod's name with its cluster's is the longest. */
const MAX_FIELD = 400;

function textField(node: NodeClaim, name: string): string {
  const value = node.metadata?.[name];
  if (typeof value === "string" && value.length > 0 && value.length <= MAX_FIELD) return value;
  throw new AppError("invalid-argument", `the node's metadata has no \`${name}\``, {
    help: "start the proxy with the bootstrap that `garrison run` writes",
  });
}

/** The workload that a node claims to be. Throws `permission-denied` where the caller is not that workload (CA-17). */
function admitWorkload(snapshot: MeshSnapshot, caller: string, node: NodeClaim): Workload {
  const key = `${textField(node, "NAMESPACE")}/${textField(node, "WORKLOAD_NAME")}`;
  const workload = snapshot.workloads.get(key);
  // One answer for both, so that a caller learns nothing of workloads that are not its own.
  if (workload === undefined || workload.identity !== caller) {
    throw new AppError("permission-denied", `\`${caller}\` is not the identity of a workload \`${key}\``, {
      help: "the WorkloadEntry must exist and name the caller's service account",
    });
  }
  return workload;
}

/** The view of the mesh that a node's proxy gets. */
export function admitProxy(snapshot: MeshSnapshot, caller: string, node: NodeClaim): ProxyView {
  const workload = admitWorkload(snapshot, caller, node);
  const kind = proxyKind(textField(node, "GARRISON_PROXY"));
  if (kind === "embedded" && workload.captured) {
    throw new AppError("unsupported", `workload \`${workload.key}\` is captured, and its proxy is the embedded one`, {
      help: "captured traffic needs Envoy: where a connection was going before it was redirected, the embedded proxy cannot ask",
    });
  }
  return { workload: workload.key, kind };
}

function proxyKind(text: string): ProxyKind {
  if (text === "envoy" || text === "embedded") return text;
  throw new AppError("invalid-argument", `\`${text}\` is not a kind of proxy`, { help: "it is `envoy` or `embedded`" });
}

export interface AdmissionOptions {
  readonly snapshot: () => MeshSnapshot;
  readonly trust: () => TrustAnchors;
  readonly clock: Clock;
}

export interface Caller {
  readonly identity: string;
  /** Milliseconds since the Unix epoch. */
  readonly expiresAt: number;
  /** Of the certificate, in hex. */
  readonly serial: string;
}

/** Who called, by the certificate of the connection; verified here again, since connections live longer than handshakes. Throws `unauthenticated`. */
export function callerOf(der: Uint8Array | undefined, { trust, clock }: AdmissionOptions): Caller {
  if (der === undefined) {
    throw new AppError("unauthenticated", "the connection has no verified client certificate", {
      help: "connect with the workload's certificate",
    });
  }
  const { leaf, identity } = holderOf(der, trust(), clock.now());
  return { identity: formatSpiffeId(identity), expiresAt: leaf.notAfter, serial: leaf.serial };
}

/** The admission of ADS streams: a proxy gets its own workload's resources, as long as its certificate is good. */
export function streamAdmission(options: AdmissionOptions) {
  return (peer: { readonly certificate: Uint8Array | undefined }, node: NodeClaim): Admission => {
    const { identity, expiresAt } = callerOf(peer.certificate, options);
    return { key: formatProxyView(admitProxy(options.snapshot(), identity, node)), expiresAt };
  };
}

/** The admission of streams of records: a proxy reports for its own workload alone. */
export function reporterAdmission(options: AdmissionOptions) {
  return (auth: { readonly peerCertificate: Uint8Array | undefined }, node: NodeClaim): ReportingWorkload => {
    const { identity, expiresAt } = callerOf(auth.peerCertificate, options);
    return { workload: admitWorkload(options.snapshot(), identity, node).key, identity, expiresAt };
  };
}

/** The admission of agents that follow the trust bundle: each for its own workload, `NAMESPACE/NAME`. */
export function followerAdmission(options: AdmissionOptions) {
  return (certificate: Uint8Array | undefined, workload: string): AdmittedAgent => {
    const { identity, expiresAt } = callerOf(certificate, options);
    const [NAMESPACE = "", WORKLOAD_NAME = ""] = workload.split("/");
    const { key } = admitWorkload(options.snapshot(), identity, { id: workload, metadata: { NAMESPACE, WORKLOAD_NAME } });
    return { workload: key, identity, expiresAt };
  };
}
