/** The audit store's file: its table, its version, and who may read it. */
import { closeSync, openSync, statSync } from "node:fs";
import { DatabaseSync, type SQLInputValue, type SQLOutputValue } from "node:sqlite";
import { AppError } from "../core/error.ts";
import { DELIVERY_TABLE } from "./delivery.ts";
import { CALLER_PATH, NOT_ALLOWED, WOULD_DENY } from "./filter.ts";
import type { AuditRecord, ConnectionEnd, NewAuditRecord } from "./record.ts";

/** Raised with every change of the table. A file of a newer version is refused, not guessed at. */
const SCHEMA_VERSION = 4;

/** Of version 2. What was recorded before knows of no dry run. */
const DRY_RUN_COLUMNS = `
  ALTER TABLE record ADD COLUMN dry_run TEXT NOT NULL DEFAULT '';
  ALTER TABLE record ADD COLUMN dry_run_origin TEXT NOT NULL DEFAULT '';
  CREATE INDEX record_would_deny ON record (id) WHERE ${WOULD_DENY};
`;

/** Of version 3. What was recorded before does not say. */
const TLS_COLUMN = "ALTER TABLE record ADD COLUMN tls TEXT NOT NULL DEFAULT '';";

/**
 * `received` never falls from one id to the next, so it finds the ids of a time range and what retention removes;
 * `time`, from the proxies, is in no order. `connection` names a TCP connection while it is open, and is empty later. AUTOINCREMENT, so that an id is not used twice even when all rows are gone.
 */
const SCHEMA = `
  CREATE TABLE record (
    id INTEGER PRIMARY KEY AUTOINCREMENT, received INTEGER NOT NULL, time INTEGER NOT NULL,
    reporter TEXT NOT NULL, workload TEXT NOT NULL, service TEXT NOT NULL, caller TEXT NOT NULL, source_ip TEXT NOT NULL,
    protocol TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL, status INTEGER NOT NULL,
    bytes_received INTEGER NOT NULL, bytes_sent INTEGER NOT NULL, duration_micros INTEGER NOT NULL,
    effect TEXT NOT NULL, origin TEXT NOT NULL, detail TEXT NOT NULL, audit TEXT NOT NULL, connection TEXT NOT NULL
  ) STRICT;
  CREATE INDEX record_received ON record (received);
  CREATE INDEX record_workload ON record (workload);
  CREATE INDEX record_caller ON record (${CALLER_PATH});
  CREATE INDEX record_not_allowed ON record (effect) WHERE ${NOT_ALLOWED};
  CREATE INDEX record_open ON record (connection) WHERE connection <> '';
  ${DRY_RUN_COLUMNS}
  ${TLS_COLUMN}
  ${DELIVERY_TABLE}
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** What brings a file of an older version to this one. */
const UPGRADES: Readonly<Record<number, string>> = {
  1: `${DRY_RUN_COLUMNS} ${TLS_COLUMN} ${DELIVERY_TABLE} PRAGMA user_version = ${SCHEMA_VERSION};`,
  2: `${TLS_COLUMN} ${DELIVERY_TABLE} PRAGMA user_version = ${SCHEMA_VERSION};`,
  3: `${DELIVERY_TABLE} PRAGMA user_version = ${SCHEMA_VERSION};`,
};

export const INSERT = `INSERT INTO record (received, time, reporter, workload, service, caller, source_ip, protocol, method, path, host, port,
  status, bytes_received, bytes_sent, duration_micros, effect, origin, detail, audit, connection, dry_run, dry_run_origin, tls) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;

/** How long a write may wait for another process's lock on the file: everything else waits meanwhile. */
const BUSY_MS = 100;
/** Pages in the write-ahead log before they are copied into the file: more than SQLite's 1000, as every copy waits for the disk. */
const WAL_PAGES = 4000;
/** What the write-ahead log shrinks to once it has been copied into the file. */
const WAL_BYTES = 64 * 1024 * 1024;

/** The values of `INSERT`, in its order. */
export function toRow(received: number, record: NewAuditRecord): SQLInputValue[] {
  const { time, reporter, workload, service, caller, sourceIp, protocol, method, path, host, port, status } = record;
  const { bytesReceived, bytesSent, durationMicros, effect, origin, detail, audit, connection = "" } = record;
  const { dryRun = "", dryRunOrigin = "", tls = "" } = record;
  const asked = [received, time, reporter, workload, service, caller, sourceIp, protocol, method, path, host, port];
  return [
    ...asked,
    status,
    bytesReceived,
    bytesSent,
    durationMicros,
    effect,
    origin,
    detail,
    JSON.stringify(audit),
    connection,
    dryRun,
    dryRunOrigin,
    tls,
  ];
}

/** A proxy can complete only what it reported itself. */
export const COMPLETE = `UPDATE record SET bytes_received = ?, bytes_sent = ?, duration_micros = ?, connection = ''
  WHERE connection <> '' AND connection = ? AND workload = ?`;

/** The values of `COMPLETE`, in its order. */
export function toCompletion({ bytesReceived, bytesSent, durationMicros, connection, workload }: ConnectionEnd): SQLInputValue[] {
  return [bytesReceived, bytesSent, durationMicros, connection, workload];
}

/** The columns of a record under the names of its fields, and when it arrived. */
export const SELECT = `SELECT received, id, time, reporter, workload, service, caller, source_ip AS sourceIp, protocol, method, path, host, port, status,
  bytes_received AS bytesReceived, bytes_sent AS bytesSent, duration_micros AS durationMicros, effect, origin, detail, audit,
  dry_run AS dryRun, dry_run_origin AS dryRunOrigin, tls FROM record`;

export type Row = Readonly<Record<string, SQLOutputValue>>;

/** A row of `SELECT` as the record it was written from. */
export function fromRow({ received: _received, ...row }: Row): AuditRecord {
  // The STRICT table and `toRow`, its only writer, vouch for the types.
  const stored = row as unknown as Omit<AuditRecord, "audit"> & { readonly audit: string };
  return { ...stored, audit: JSON.parse(stored.audit) as string[] };
}

/** Makes the file where there is none, readable by its owner alone (SQLite gives its `-wal` and `-shm` the same mode). */
function checkFile(file: string): void {
  try {
    closeSync(openSync(file, "a", 0o600));
  } catch (error) {
    const help = "the state folder must exist and be writable for this user";
    throw new AppError("unavailable", `the audit store \`${file}\` cannot be opened`, { help, cause: error });
  }
  const mode = statSync(file).mode & 0o777;
  if ((mode & 0o077) !== 0) {
    throw new AppError(
      "unsafe-permissions",
      `the audit store \`${file}\` has mode ${mode.toString(8)}: others could read who called whom`,
      {
        help: `run \`chmod 600 ${file}\``,
      },
    );
  }
}

/** A new file gets the schema, and an older one what has come since; any other must have just this version. */
function checkVersion(db: DatabaseSync, file: string): void {
  const version = db.prepare("PRAGMA user_version").get()?.user_version;
  if (version === SCHEMA_VERSION) return;
  const upgrade = UPGRADES[Number(version)];
  if (upgrade !== undefined) {
    db.exec(`BEGIN; ${upgrade} COMMIT;`);
    return;
  }
  if (version !== 0) {
    throw new AppError(
      "unsupported",
      `the audit store \`${file}\` has schema version ${version}, and this release knows ${SCHEMA_VERSION}`,
      {
        help: "use the release that wrote it, or move the file away to begin a new one",
      },
    );
  }
  db.exec(`BEGIN; ${SCHEMA} COMMIT;`);
}

/**
 * Opens the store's file, or makes it: WAL, so that a reader never waits for the writer, and committed rows survive a
 * killed process. Throws `unsafe-permissions`, `unsupported`, or `unavailable` for what is not an audit store.
 */
export function openDatabase(file: string): DatabaseSync {
  checkFile(file);
  const db = new DatabaseSync(file, { timeout: BUSY_MS });
  try {
    db.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = ${WAL_PAGES}; PRAGMA journal_size_limit = ${WAL_BYTES};`,
    );
    checkVersion(db, file);
    return db;
  } catch (error) {
    db.close();
    if (error instanceof AppError) throw error;
    throw new AppError("unavailable", `the audit store \`${file}\` cannot be read`, {
      help: "move the file away to begin a new one, and keep it if its records matter",
      cause: error,
    });
  }
}
