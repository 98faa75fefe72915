/** The ledger's file: its schema, how it is opened, and its rows as records. */
import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import { AppError } from "../core/error.ts";

/** `issued`: it is, or is about to be, in the log; only then is it handed out. `failed` and `interrupted` (the process ended first): nobody got it. */
export const CERTIFICATE_STATES = ["intended", "issued", "failed", "interrupted"] as const;

export type CertificateState = (typeof CERTIFICATE_STATES)[number];

export interface Intent {
  /** Lower-case hex. */
  readonly serial: string;
  readonly identity: string;
  /** How the caller proved who it is. */
  readonly caller: string;
  /** The identifier of its public key in hex; absent for what the log alone has kept. */
  readonly keyId?: string;
  /** Milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface CertificateRecord extends Intent {
  readonly state: CertificateState;
  /** Milliseconds. */
  readonly recordedAt: number;
  /** SHA-256 of the certificate's DER in hex, and its place in the log; both once it is issued. */
  readonly sha256?: string;
  readonly leaf?: number;
  /** The key identifier of its issuer in hex; absent for what the log alone has kept. */
  readonly authority?: string;
}

export interface RefusalRecord {
  /** Milliseconds. */
  readonly recordedAt: number;
  /** The identity that was proved; empty when none was. */
  readonly identity: string;
  readonly caller: string;
  readonly reason: string;
  /** What was asked for. */
  readonly kind: CredentialKind;
}

export const CREDENTIAL_KINDS = ["certificate", "jwt-svid"] as const;

export type CredentialKind = (typeof CREDENTIAL_KINDS)[number];

const NOTES = "CREATE TABLE notes (leaf INTEGER PRIMARY KEY, entry TEXT NOT NULL) STRICT;";

const VERSION = 5;
/** What it was before, and can be looked at. */
const WITHOUT_NOTES = 4;
/** No index on the random serials: it would cost every issuance a third of its time for the sake of rare look-ups. */
const SCHEMA = `
  CREATE TABLE certificates (
    id INTEGER PRIMARY KEY, serial TEXT NOT NULL, identity TEXT NOT NULL, caller TEXT NOT NULL,
    not_before INTEGER NOT NULL, not_after INTEGER NOT NULL, recorded_at INTEGER NOT NULL, state TEXT NOT NULL,
    sha256 TEXT, leaf INTEGER, key_id TEXT, authority TEXT
  ) STRICT;
  CREATE TABLE refusals (
    slot INTEGER PRIMARY KEY, number INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
    identity TEXT NOT NULL, caller TEXT NOT NULL, reason TEXT NOT NULL, kind TEXT NOT NULL DEFAULT 'certificate'
  ) STRICT;
  ${NOTES}
  PRAGMA user_version = ${VERSION};`;
/** Certificates come into the log in the order in which they were signed, which is not that of their rows. */
const LEAVES = "CREATE INDEX IF NOT EXISTS leaves ON certificates(leaf) WHERE leaf IS NOT NULL";
/** Before there was a log there were neither digests nor leaves. */
const FROM_VERSION_1 = `
  ALTER TABLE certificates ADD COLUMN sha256 TEXT;
  ALTER TABLE certificates ADD COLUMN leaf INTEGER;`;
/** Keys were not kept before certificates could be revoked by them. */
const FROM_VERSION_2 = `
  ALTER TABLE certificates ADD COLUMN key_id TEXT;`;
/** There was one authority alone before it could be replaced. */
const FROM_VERSION_3 = `
  ALTER TABLE certificates ADD COLUMN authority TEXT;`;
/** The log had certificates alone before it had notes. */
const FROM_VERSION_4 = `
  ALTER TABLE refusals ADD COLUMN kind TEXT NOT NULL DEFAULT 'certificate';
  ${NOTES}
  PRAGMA user_version = ${VERSION};`;
const STEPS = [FROM_VERSION_1, FROM_VERSION_2, FROM_VERSION_3, FROM_VERSION_4] as const;
/**
 * EXCLUSIVE: one process at a time, as two control planes must not work on one state folder. Small pages, as each intent
 * writes one to the log; a checkpoint when the log has about 8 MB.
 */
const SETTINGS = `
  PRAGMA page_size = 1024; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 8000;`;
const SQLITE_BUSY = 5;
/** For the predecessor of a restarted control plane to end. */
const LOCK_TIMEOUT_MS = 500;

export const CERTIFICATE_COLUMNS = "serial, identity, caller, not_before, not_after, recorded_at, state, sha256, leaf, key_id, authority";

function openFailure(path: string, cause: unknown, whenBusy: string): AppError {
  if (cause instanceof AppError) return cause;
  if (cause instanceof Error && "errcode" in cause && cause.errcode === SQLITE_BUSY) {
    return new AppError("unavailable", `\`${path}\` is in use by another process`, {
      help: whenBusy,
      cause,
    });
  }
  return new AppError("invalid-configuration", `\`${path}\` cannot be opened as the issuance ledger`, {
    help: "restore it from a backup, or move it away: what the log has of it is put back",
    cause,
  });
}

function otherVersion(path: string, version: unknown): AppError {
  return new AppError("invalid-configuration", `\`${path}\` was written by another version (${String(version)})`);
}

/** Opens the ledger in the file `path`, or starts one. Throws `unavailable` while another process has it, `invalid-configuration` when it cannot be used. */
export function openLedgerDatabase(path: string): DatabaseSync {
  try {
    closeSync(openSync(path, "a", 0o600));
    const database = new DatabaseSync(path, { timeout: LOCK_TIMEOUT_MS });
    database.exec(SETTINGS);
    const version = database.prepare("PRAGMA user_version").get()?.user_version;
    if (version === 0) database.exec(`BEGIN; ${SCHEMA} COMMIT;`);
    else if (typeof version === "number" && version < VERSION) database.exec(`BEGIN; ${STEPS.slice(version - 1).join("")} COMMIT;`);
    else if (version !== VERSION) throw otherVersion(path, version);
    database.exec(LEAVES);
    return database;
  } catch (error) {
    throw openFailure(path, error, "stop the other control plane of this state folder");
  }
}

/** Opens a ledger to look at, while no control plane has it. Throws as `openLedgerDatabase` does. */
export function openLedgerForReading(path: string): DatabaseSync {
  try {
    const database = new DatabaseSync(path, { timeout: LOCK_TIMEOUT_MS, readOnly: true });
    const version = database.prepare("PRAGMA user_version").get()?.user_version;
    if (version !== VERSION && version !== WITHOUT_NOTES) throw otherVersion(path, version);
    return database;
  } catch (error) {
    throw openFailure(path, error, "stop the control plane of this state folder, or leave the ledger out with --log-only");
  }
}

type Row = Readonly<Record<string, SQLOutputValue>>;

export function certificateRecord(row: Row): CertificateRecord {
  return {
    serial: String(row.serial),
    identity: String(row.identity),
    caller: String(row.caller),
    notBefore: Number(row.not_before),
    notAfter: Number(row.not_after),
    recordedAt: Number(row.recorded_at),
    state: String(row.state) as CertificateState,
    ...(row.sha256 === null ? {} : { sha256: String(row.sha256) }),
    ...(row.leaf === null ? {} : { leaf: Number(row.leaf) }),
    ...(row.key_id === null ? {} : { keyId: String(row.key_id) }),
    ...(row.authority === null ? {} : { authority: String(row.authority) }),
  };
}

/** The rows of certificates that have a leaf, in the order of these, one in memory at a time. */
export function* ledgerRows(database: DatabaseSync): Generator<CertificateRecord> {
  const rows = database.prepare(`SELECT ${CERTIFICATE_COLUMNS} FROM certificates WHERE leaf IS NOT NULL ORDER BY leaf`).iterate();
  for (const row of rows) yield certificateRecord(row);
}

export function refusalRecord(row: Row): RefusalRecord {
  return {
    recordedAt: Number(row.recorded_at),
    identity: String(row.identity),
    caller: String(row.caller),
    reason: String(row.reason),
    kind: row.kind === "jwt-svid" ? "jwt-svid" : "certificate",
  };
}
