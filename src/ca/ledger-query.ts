/** Which certificates and refusals are asked for. */
import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import {
  CERTIFICATE_COLUMNS,
  type CertificateRecord,
  type CertificateState,
  type CredentialKind,
  certificateRecord,
  type RefusalRecord,
  refusalRecord,
} from "./ledger-database.ts";

export interface LedgerFilter {
  /** A SPIFFE ID. */
  readonly identity?: string;
  readonly serial?: string;
  /** `token`, `client certificate`, `control plane`. */
  readonly caller?: string;
  readonly state?: CertificateState;
  /** Of certificates, those that were revoked; of refusals, those of this kind. */
  readonly revoked?: true;
  readonly kind?: CredentialKind;
  /** Recorded from then on, in milliseconds. */
  readonly since?: number;
  /** Recorded before. */
  readonly until?: number;
  readonly limit: number;
}

const CONDITIONS = {
  identity: "identity = ?",
  serial: "serial = ?",
  caller: "caller = ?",
  state: "state = ?",
  since: "recorded_at >= ?",
  until: "recorded_at < ?",
  kind: "kind = ?",
} as const satisfies Record<Exclude<keyof LedgerFilter, "limit" | "revoked">, string>;

const REVOKED = "serial IN (SELECT json_extract(entry, '$.serial') FROM notes WHERE json_extract(entry, '$.type') = 'revoked')";

type Condition = keyof typeof CONDITIONS;

function where(
  filter: LedgerFilter,
  conditions: readonly Condition[],
): { readonly sql: string; readonly values: readonly SQLInputValue[] } {
  const used = conditions.flatMap((name) => (filter[name] === undefined ? [] : [{ sql: CONDITIONS[name], value: filter[name] }]));
  if (used.length === 0) return { sql: "", values: [] };
  return { sql: `WHERE ${used.map(({ sql }) => sql).join(" AND ")}`, values: used.map(({ value }) => value) };
}

/** The newest first. */
export function queryCertificates(database: DatabaseSync, filter: LedgerFilter): readonly CertificateRecord[] {
  const { sql, values } = where(filter, ["identity", "serial", "caller", "state", "since", "until"]);
  const revoked = filter.revoked === undefined ? "" : `${sql === "" ? "WHERE" : "AND"} ${REVOKED}`;
  const statement = database.prepare(`SELECT ${CERTIFICATE_COLUMNS} FROM certificates ${sql} ${revoked} ORDER BY id DESC LIMIT ?`);
  return statement.all(...values, filter.limit).map(certificateRecord);
}

/** The newest first; `serial` and `state` do not concern them. */
export function queryRefusals(database: DatabaseSync, filter: LedgerFilter): readonly RefusalRecord[] {
  const { sql, values } = where(filter, ["identity", "caller", "since", "until", "kind"]);
  const columns = "recorded_at, identity, caller, reason, kind";
  const statement = database.prepare(`SELECT ${columns} FROM refusals ${sql} ORDER BY number DESC LIMIT ?`);
  return statement.all(...values, filter.limit).map(refusalRecord);
}

/** Certificates of one identity that have not expired. */
export interface AuthorityHolder {
  readonly identity: string;
  readonly certificates: number;
  /** When the last of them expires, in milliseconds. */
  readonly until: number;
}

/** Whoever has unexpired certificates of an authority, or of none that is known; the control plane itself apart. */
export function queryHolders(database: DatabaseSync, authority: string, now: number): readonly AuthorityHolder[] {
  const statement = database.prepare(
    `SELECT identity, count(*) AS certificates, max(not_after) AS until FROM certificates
     WHERE state = 'issued' AND not_after >= ? AND (authority = ? OR authority IS NULL) AND caller <> 'control plane'
     GROUP BY identity ORDER BY identity`,
  );
  return statement.all(now, authority).map((row) => ({
    identity: String(row.identity),
    certificates: Number(row.certificates),
    until: Number(row.until),
  }));
}
