/**
 * The record of every certificate: what was intended before the key signed, and what came of it.
 *
 * What survives: an intent is a transaction of its own in SQLite's write-ahead log, and it is made before the signature. Good outcomes follow
 * in batches, at the latest in the same turn of the event loop. So when the process is killed, no certificate is without its row; those whose outcome was not written yet are marked
 * `interrupted` at the next start: they may have been handed out. When the machine loses power, the last moments before it may be missing
 * (`synchronous = NORMAL`: the log is synced at checkpoints); the file is never corrupt.
 */
import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type SQLOutputValue, type StatementSync } from "node:sqlite";
import { AppError } from "../core/error.ts";

/** `interrupted`: the process ended before an outcome was recorded, so the certificate may have been handed out. `failed`: it was not. */
export type CertificateState = "intended" | "issued" | "failed" | "interrupted";

export interface Intent {
  /** Lower-case hex. */
  readonly serial: string;
  readonly identity: string;
  /** How the caller proved who it is. */
  readonly caller: string;
  /** Milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface CertificateRecord extends Intent {
  readonly state: CertificateState;
  /** Milliseconds. */
  readonly recordedAt: number;
}

export interface RefusalRecord {
  /** Milliseconds. */
  readonly recordedAt: number;
  /** The identity that was proved; empty when none was. */
  readonly identity: string;
  readonly caller: string;
  readonly reason: string;
}

/** Names the row of an intent until its outcome is known. */
export type IntentId = number | bigint;

const VERSION = 1;
/** No index on the random serials: it would cost every issuance a third of its time for the sake of rare look-ups. */
const SCHEMA = `
  CREATE TABLE certificates (
    id INTEGER PRIMARY KEY, serial TEXT NOT NULL, identity TEXT NOT NULL, caller TEXT NOT NULL,
    not_before INTEGER NOT NULL, not_after INTEGER NOT NULL, recorded_at INTEGER NOT NULL, state TEXT NOT NULL
  ) STRICT;
  CREATE TABLE refusals (
    slot INTEGER PRIMARY KEY, number INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
    identity TEXT NOT NULL, caller TEXT NOT NULL, reason TEXT NOT NULL
  ) STRICT;
  PRAGMA user_version = ${VERSION};`;
/**
 * EXCLUSIVE: one process at a time, as two control planes must not work on one state folder. Small pages, as each intent
 * writes one to the log; a checkpoint when the log has about 8 MB.
 */
const SETTINGS = `
  PRAGMA page_size = 1024; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 8000;`;
const CERTIFICATE_COLUMNS = "serial, identity, caller, not_before, not_after, recorded_at, state";
/** Longer than any certificate lives (90 days), so that a valid one is never forgotten. */
const RETENTION_MS = 120 * 24 * 3600 * 1000;
const PRUNE_EVERY = 512;
/** Outcomes that may wait to be written together. */
const MAX_UNSETTLED = 64;
/** Anybody can be refused, so refusals go round in a ring that they cannot outgrow. */
const MAX_REFUSALS = 10_000;
const MAX_REASON = 500;
const SQLITE_BUSY = 5;
/** For the predecessor of a restarted control plane to end. */
const LOCK_TIMEOUT_MS = 500;

function openFailure(path: string, cause: unknown): AppError {
  if (cause instanceof AppError) return cause;
  if (cause instanceof Error && "errcode" in cause && cause.errcode === SQLITE_BUSY) {
    return new AppError("unavailable", `\`${path}\` is in use by another process`, {
      help: "stop the other control plane of this state folder",
      cause,
    });
  }
  return new AppError("invalid-configuration", `\`${path}\` cannot be opened as the issuance ledger`, {
    help: "restore it from a backup, or move it away to start an empty one",
    cause,
  });
}

function openDatabase(path: string): DatabaseSync {
  try {
    closeSync(openSync(path, "a", 0o600));
    const database = new DatabaseSync(path, { timeout: LOCK_TIMEOUT_MS });
    database.exec(SETTINGS);
    const version = database.prepare("PRAGMA user_version").get()?.user_version;
    if (version === 0) database.exec(`BEGIN; ${SCHEMA} COMMIT;`);
    else if (version !== VERSION) throw new AppError("invalid-configuration", `\`${path}\` was written by another version (${version})`);
    return database;
  } catch (error) {
    throw openFailure(path, error);
  }
}

type Row = Readonly<Record<string, SQLOutputValue>>;

function certificateRecord(row: Row): CertificateRecord {
  return {
    serial: String(row.serial),
    identity: String(row.identity),
    caller: String(row.caller),
    notBefore: Number(row.not_before),
    notAfter: Number(row.not_after),
    recordedAt: Number(row.recorded_at),
    state: String(row.state) as CertificateState,
  };
}

function refusalRecord(row: Row): RefusalRecord {
  return {
    recordedAt: Number(row.recorded_at),
    identity: String(row.identity),
    caller: String(row.caller),
    reason: String(row.reason),
  };
}

/** A full or broken disk stops issuance: a certificate that cannot be recorded is not signed. */
function write<T>(run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw new AppError("unavailable", "the issuance ledger cannot be written", { help: "look at the disk of the state folder", cause });
  }
}

/** The record of issuance in one SQLite file. What writes throws `unavailable` when it cannot. */
export class Ledger {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #settle: StatementSync;
  readonly #insertRefusal: StatementSync;
  readonly #prune: StatementSync;
  /** Intents whose certificates were issued, to be written soon. */
  #issued: IntentId[] = [];
  #flushSoon: NodeJS.Immediate | undefined;
  #untilPrune = 0;
  #refusals: number;
  /** How many intents the last run left without an outcome. */
  readonly interrupted: number;

  /** Opens the ledger in the file `path`, or starts one. Throws `unavailable` while another process has it, `invalid-configuration` when it cannot be used. */
  constructor(path: string) {
    const database = openDatabase(path);
    this.#database = database;
    this.interrupted = Number(database.prepare("UPDATE certificates SET state = 'interrupted' WHERE state = 'intended'").run().changes);
    this.#insert = database.prepare(
      "INSERT INTO certificates (serial, identity, caller, not_before, not_after, recorded_at, state) VALUES (?, ?, ?, ?, ?, ?, 'intended')",
    );
    this.#settle = database.prepare("UPDATE certificates SET state = ? WHERE id = ?");
    this.#insertRefusal = database.prepare(
      "INSERT OR REPLACE INTO refusals (slot, number, recorded_at, identity, caller, reason) VALUES (?, ?, ?, ?, ?, ?)",
    );
    this.#prune = database.prepare(
      `DELETE FROM certificates WHERE id < (SELECT min(id) FROM certificates) + ${PRUNE_EVERY * 2} AND recorded_at < ?`,
    );
    this.#refusals = Number(database.prepare("SELECT coalesce(max(number) + 1, 0) AS next FROM refusals").get()?.next);
  }

  /** Records that a certificate is about to be signed. In the log when it returns. */
  intend(intent: Intent, now: number): IntentId {
    if (this.#issued.length >= MAX_UNSETTLED) this.#flush();
    if (this.#untilPrune-- === 0) {
      this.#untilPrune = PRUNE_EVERY;
      write(() => this.#prune.run(now - RETENTION_MS));
    }
    const { serial, identity, caller, notBefore, notAfter } = intent;
    return write(() => this.#insert.run(serial, identity, caller, notBefore, notAfter, now).lastInsertRowid);
  }

  /** Records that nothing came of an intent. */
  fail(id: IntentId): void {
    write(() => this.#settle.run("failed", id));
  }

  /** Records that an intent's certificate is being handed out: within this turn of the event loop, together with others. */
  issue(id: IntentId): void {
    this.#issued.push(id);
    this.#flushSoon ??= setImmediate(() => this.#flushQuietly());
  }

  /** Records a refusal; the newest 10,000 are kept. */
  refuse(refusal: Omit<RefusalRecord, "recordedAt">, now: number): void {
    const number = this.#refusals++;
    const { identity, caller, reason } = refusal;
    write(() => this.#insertRefusal.run(number % MAX_REFUSALS, number, now, identity, caller, reason.slice(0, MAX_REASON)));
  }

  /** The record of one certificate by its serial in hex. */
  find(serial: string): CertificateRecord | undefined {
    this.#flush();
    const row = this.#database.prepare(`SELECT ${CERTIFICATE_COLUMNS} FROM certificates WHERE serial = ?`).get(serial);
    return row === undefined ? undefined : certificateRecord(row);
  }

  /** The newest certificates first. */
  certificates(limit: number): readonly CertificateRecord[] {
    this.#flush();
    const rows = this.#database.prepare(`SELECT ${CERTIFICATE_COLUMNS} FROM certificates ORDER BY id DESC LIMIT ?`).all(limit);
    return rows.map(certificateRecord);
  }

  /** The newest refusals first. */
  refusals(limit: number): readonly RefusalRecord[] {
    const rows = this.#database
      .prepare("SELECT recorded_at, identity, caller, reason FROM refusals ORDER BY number DESC LIMIT ?")
      .all(limit);
    return rows.map(refusalRecord);
  }

  close(): void {
    this.#flush();
    this.#database.close();
  }

  #flush(): void {
    clearImmediate(this.#flushSoon);
    this.#flushSoon = undefined;
    if (this.#issued.length === 0) return;
    write(() => this.#settleIssued());
    this.#issued = [];
  }

  #settleIssued(): void {
    this.#database.exec("BEGIN");
    try {
      for (const id of this.#issued) this.#settle.run("issued", id);
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  /** A failure keeps the outcomes waiting; when 64 wait, `intend` throws until they can be written. */
  #flushQuietly(): void {
    try {
      this.#flush();
    } catch {
      // Told by the next `intend` that needs the room.
    }
  }
}
