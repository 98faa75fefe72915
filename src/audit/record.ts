/** What is kept of one decision, whichever proxy made it. */

/** `refused`: there was no decision, because the connection or request ended before one could be made. */
export const DECISION_EFFECTS = ["allow", "deny", "refused"] as const;
export type DecisionEffect = (typeof DECISION_EFFECTS)[number];
/** `lost`: one record for as many as its detail says, which never came. */
export const EFFECTS = [...DECISION_EFFECTS, "lost"] as const;
export type Effect = (typeof EFFECTS)[number];

export type Reporter = "envoy" | "embedded";

/** One request, one TCP connection, or one refused handshake. Texts are empty and numbers 0 where nothing is known. */
export interface AuditRecord {
  /** Given by the store: consecutive in the order of arrival, and never used twice. A hole is what retention removed. */
  readonly id: number;
  /** When the proxy began to serve it: milliseconds since the Unix epoch. */
  readonly time: number;
  readonly reporter: Reporter;
  /** `NAMESPACE/NAME` of the workload whose proxy reports; from the stream's certificate, never from the record. */
  readonly workload: string;
  /** `NAMESPACE/NAME` of the service that was asked. */
  readonly service: string;
  /** The SPIFFE ID that the peer proved. */
  readonly caller: string;
  readonly sourceIp: string;
  readonly protocol: "http" | "tcp";
  readonly method: string;
  /** Without query and fragment: they may carry secrets. */
  readonly path: string;
  readonly host: string;
  /** The port on which the proxy was asked. */
  readonly port: number;
  /** The HTTP status of the answer. */
  readonly status: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly durationMicros: number;
  readonly effect: Effect;
  /** `NAMESPACE/POLICY[RULE]`, `default`, `no-policy`, or empty for `refused` and `lost`. */
  readonly origin: string;
  /** Why it was refused, or what went wrong after it was allowed, in words. */
  readonly detail: string;
  /** The AUDIT rules that matched, as `NAMESPACE/POLICY[RULE]`. */
  readonly audit: readonly string[];
  /** What would have been decided, were dry runs in force; empty where the workload has none, and where nothing was decided by rules. */
  readonly dryRun: "allow" | "deny" | "";
  /** By which rule, as `origin` has it. */
  readonly dryRunOrigin: string;
  /** What the handshake settled, version and suite by their names at IANA and the group of the key exchange: `TLSv1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768`. Empty for plaintext, and where it failed. */
  readonly tls: string;
}

/** What dry runs add to a record. */
export type DryRunRecord = Partial<Pick<AuditRecord, "dryRun" | "dryRunOrigin">>;

/** A record before the store has numbered it. */
export interface NewAuditRecord extends Omit<AuditRecord, "id" | "tls" | keyof DryRunRecord>, DryRunRecord {
  readonly tls?: string;
  /** A TCP connection that is still open, by a name that its proxy uses once: a `ConnectionEnd` will complete the record. */
  readonly connection?: string;
}

/** What is known when a recorded connection ends. Until then its duration is 0. */
export interface ConnectionEnd {
  readonly workload: string;
  readonly connection: string;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly durationMicros: number;
}

/** What is reported is a record, the end of a connection that is recorded already, or neither. */
export type EntryMeaning =
  | { readonly kind: "record"; readonly record: NewAuditRecord }
  | { readonly kind: "end"; readonly end: ConnectionEnd }
  | { readonly kind: "nothing" };

/** Characters kept of each text, and entries of `audit`; the rest is cut off and marked with `…`. */
const LIMITS = {
  workload: 512,
  service: 512,
  caller: 2048,
  sourceIp: 64,
  connection: 64,
  method: 64,
  path: 2048,
  host: 512,
  origin: 1024,
  detail: 1024,
  tls: 128,
} as const satisfies Partial<Record<keyof NewAuditRecord, number>>;
const MAX_AUDIT_RULES = 64;

function cut(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}

/** A count from outside as SQLite and JSON can hold it: a whole number from 0 to 2^53 − 1. */
function count(value: number): number {
  return Math.trunc(Math.min(Math.max(value, 0), Number.MAX_SAFE_INTEGER)) || 0;
}

/** The record with every text and number within its bounds. What arrives from a proxy is not trusted to be short. */
export function boundRecord(record: NewAuditRecord): NewAuditRecord {
  const { time, reporter, workload, service, caller, sourceIp, protocol, method, path, host, port, status } = record;
  const { bytesReceived, bytesSent, durationMicros, effect, origin, detail, audit, connection } = record;
  const { dryRun = "", dryRunOrigin = "", tls = "" } = record;
  return {
    time: count(time),
    reporter,
    workload: cut(workload, LIMITS.workload),
    service: cut(service, LIMITS.service),
    caller: cut(caller, LIMITS.caller),
    sourceIp: cut(sourceIp, LIMITS.sourceIp),
    protocol,
    method: cut(method, LIMITS.method),
    path: cut(path, LIMITS.path),
    host: cut(host, LIMITS.host),
    port: count(port),
    status: count(status),
    bytesReceived: count(bytesReceived),
    bytesSent: count(bytesSent),
    durationMicros: count(durationMicros),
    effect,
    origin: cut(origin, LIMITS.origin),
    detail: cut(detail, LIMITS.detail),
    audit: audit.slice(0, MAX_AUDIT_RULES).map((rule) => cut(rule, LIMITS.origin)),
    dryRun,
    dryRunOrigin: cut(dryRunOrigin, LIMITS.origin),
    tls: cut(tls, LIMITS.tls),
    ...(connection === undefined ? {} : { connection: cut(connection, LIMITS.connection) }),
  };
}

/** The end of a connection within the same bounds. */
export function boundConnectionEnd({ workload, connection, bytesReceived, bytesSent, durationMicros }: ConnectionEnd): ConnectionEnd {
  return {
    workload: cut(workload, LIMITS.workload),
    connection: cut(connection, LIMITS.connection),
    bytesReceived: count(bytesReceived),
    bytesSent: count(bytesSent),
    durationMicros: count(durationMicros),
  };
}

/** A request's path without query and fragment, as policies see it (Istio AZ-6). */
export function pathOnly(path: string): string {
  const end = path.search(/[?#]/);
  return end < 0 ? path : path.slice(0, end);
}
