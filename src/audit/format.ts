/** A record as one line: for people, and for programs. Nothing that a caller sent can break out of its line or its column. */
import type { AuditRecord, Effect } from "./record.ts";

/** A record as it is told: of which replica of the control plane it is, where that has replicas. */
export type ToldRecord = AuditRecord & { readonly replica?: string };

/** What an answer says besides records: another replica could not be asked, and why. */
export interface Unasked {
  readonly unasked: string;
}

export interface FormatOptions {
  /** ANSI colours for the effect. */
  readonly colour?: boolean;
  /** Callers of this trust domain are shown as NAMESPACE/SERVICE-ACCOUNT; others always in full. */
  readonly trustDomain?: string;
}

const COLOUR = { allow: 32, deny: 31, refused: 33, lost: 35 } as const satisfies Record<Effect, number>;
const ID_WIDTH = 5;
const ID_WIDTH_WITH_REPLICA = 16;
const REPLICA_PREFIX = /^garrison-replica-/;
const PARTY_WIDTH = 27;

/** Control, format, unassigned and private characters, every kind of space and line end, and the escape character itself. */
const UNSAFE = /[\p{C}\p{Z}\\]/gu;

function escapeCharacter(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  if (character === "\\") return "\\\\";
  return code <= 0xff ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
}

/** Text for one column: without spaces, so that columns cannot be forged. */
function token(text: string): string {
  return text.replace(UNSAFE, escapeCharacter);
}

/** Text for the end of the line: plain spaces may stay. */
function words(text: string): string {
  return text.replace(UNSAFE, (character) => (character === " " ? " " : escapeCharacter(character)));
}

function formatCaller({ caller, sourceIp, effect }: AuditRecord, trustDomain: string | undefined): string {
  if (effect === "lost") return "-";
  if (caller === "") return `(${token(sourceIp) || "unknown"})`;
  const match = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(caller);
  return token(match !== null && match[1] === trustDomain ? `${match[2]}/${match[3]}` : caller);
}

function formatRequest(record: AuditRecord): string {
  const { protocol, effect, method, path, status, bytesReceived, bytesSent, durationMicros } = record;
  if (effect === "lost") return "";
  // An allowed connection is recorded when it opens, and completed when it ends.
  if (protocol === "tcp") return effect === "allow" && durationMicros > 0 ? `tcp ${bytesReceived} in ${bytesSent} out` : "tcp";
  const request = [method === "" ? "http" : token(method), ...(path === "" ? [] : [token(path)])].join(" ");
  return status === 0 ? request : `${request} ${status}`;
}

/** Where a dry run would change it. */
function formatDryRun({ effect, origin, dryRun, dryRunOrigin }: AuditRecord): readonly string[] {
  if (dryRun === "" || (dryRun === effect && dryRunOrigin === origin)) return [];
  return [`dry-run ${dryRun} by ${token(dryRunOrigin)}`];
}

/** `17`, or `17@REPLICA` without what all replicas' names begin with. */
function formatNumber({ id, replica }: ToldRecord): string {
  return replica === undefined ? String(id) : `${id}@${token(replica.replace(REPLICA_PREFIX, ""))}`;
}

/** `ID TIME EFFECT CALLER -> SERVICE REQUEST by ORIGIN (DETAIL) audit RULES dry-run EFFECT by ORIGIN`, in columns; what is unknown is left out. Ends without a line end. */
export function formatRecord(record: ToldRecord, options: FormatOptions = {}): string {
  const { time, effect, service, workload, origin, detail, audit } = record;
  const word = effect.toUpperCase().padEnd(7);
  const to = token(service === "" ? workload : service);
  return [
    formatNumber(record).padStart(record.replica === undefined ? ID_WIDTH : ID_WIDTH_WITH_REPLICA),
    new Date(time).toISOString(),
    options.colour === true ? `\u001b[${COLOUR[effect]}m${word}\u001b[0m` : word,
    formatCaller(record, options.trustDomain).padEnd(PARTY_WIDTH),
    "->",
    to.padEnd(PARTY_WIDTH),
    ...[formatRequest(record)].filter((request) => request !== ""),
    ...(origin === "" ? [] : [`by ${token(origin)}`]),
    ...(detail === "" ? [] : [`(${words(detail)})`]),
    ...(audit.length === 0 ? [] : [`audit ${audit.map(token).join(",")}`]),
    ...formatDryRun(record),
  ].join(" ");
}

/** Characters that JSON allows in a string, and a terminal or a line reader may still obey. */
const UNSAFE_IN_JSON = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

function escapeLine(text: string): string {
  return text.replace(UNSAFE_IN_JSON, (character) =>
    Array.from({ length: character.length }, (_, at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`).join(""),
  );
}

/** The record as one line of JSON: always the same keys in the same order, the time as RFC 3339 in UTC, no raw control or direction character. */
export function formatJson(record: ToldRecord): string {
  const { id, replica, time, reporter, workload, service, caller, sourceIp, protocol, method, path, host, port, status } = record;
  const { bytesReceived, bytesSent, durationMicros, effect, origin, detail, audit, dryRun, dryRunOrigin, tls } = record;
  const asked = {
    id,
    ...(replica === undefined ? {} : { replica }),
    time: new Date(time).toISOString(),
    reporter,
    workload,
    service,
    caller,
    sourceIp,
    protocol,
    method,
    path,
    host,
    port,
  };
  const text = JSON.stringify({
    ...asked,
    status,
    bytesReceived,
    bytesSent,
    durationMicros,
    effect,
    origin,
    detail,
    audit,
    dryRun,
    dryRunOrigin,
    tls,
  });
  return escapeLine(text);
}

/** What stands in the place of the records of a replica that could not be asked. */
export function formatUnasked(unasked: string): string {
  return escapeLine(JSON.stringify({ unasked }));
}

/** The record of a line that `formatJson` wrote. Throws SyntaxError for anything that is not JSON. */
export function parseJson(line: string): ToldRecord {
  const record = JSON.parse(line) as Omit<ToldRecord, "time"> & { readonly time: string };
  return { ...record, time: Date.parse(record.time) };
}

/** The same of any line of an answer. */
export function parseLine(line: string): ToldRecord | Unasked {
  const parsed = JSON.parse(line) as Partial<Unasked>;
  return typeof parsed.unasked === "string" ? { unasked: parsed.unasked } : parseJson(line);
}
