/**
 * The record of every certificate: what was intended before the key signed, and what came of it.
 *
 * What survives: an intent is in SQLite's write-ahead log before the signature is made; those of one moment share a transaction. Good outcomes follow
 * in batches, at the latest in the same turn of the event loop; each gets its place in the log with them, and is handed out when the
 * log has it on the disk. So when the process is killed, no certificate is without its row; those without an outcome are marked
 * `interrupted` at the next start: nobody got them. When the machine loses power, the last moments before it may be missing here
 * (`synchronous = NORMAL`: SQLite's log is synced at checkpoints), never from the log, from which they are put back.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { AppError } from "../core/error.ts";
import {
  CERTIFICATE_COLUMNS,
  type CertificateRecord,
  certificateRecord,
  type Intent,
  openLedgerDatabase,
  type RefusalRecord,
} from "./ledger-database.ts";
import { LedgerNotes, notesFrom } from "./ledger-notes.ts";
import { type AuthorityHolder, type LedgerFilter, queryCertificates, queryHolders, queryRefusals } from "./ledger-query.ts";
import { isNote, type LogEntry, type Note } from "./log/entry.ts";

export type { CertificateRecord, Intent, RefusalRecord } from "./ledger-database.ts";

/** Names the row of an intent until its outcome is known. */
export interface IntentId {
  readonly row: number | bigint;
  readonly intent: Intent;
  readonly recordedAt: number;
}

/** What came of an intent. */
export interface Outcome {
  /** SHA-256 of the certificate's DER, in hex. */
  readonly sha256: string;
  /** What another CA chose; absent where it is what was intended. */
  /** The key identifier of its issuer, in hex. */
  readonly authority?: string;
  readonly chosen?: Pick<Intent, "serial" | "notBefore" | "notAfter">;
}

interface Issued extends IntentId, Outcome {}

/** An intent that waits to be written together with others. */
interface Waiting {
  readonly intent: Intent;
  readonly now: number;
  readonly written: (id: IntentId) => void;
  readonly failed: (error: unknown) => void;
}

/** Longer than any certificate lives (90 days), so that a valid one is never forgotten. */
export const RETENTION_MS = 120 * 24 * 3600 * 1000;
const PRUNE_EVERY = 512;
/** Outcomes that may wait to be written together. */
const MAX_UNSETTLED = 64;
/** Anybody can be refused, so refusals go round in a ring that they cannot outgrow. */
const MAX_REFUSALS = 10_000;
const MAX_REASON = 500;
const COLUMN_OF = { identity: "identity", keyId: "key_id", authority: "authority" } as const;

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
  readonly #choose: StatementSync;
  readonly #insertRefusal: StatementSync;
  readonly #prune: StatementSync;
  readonly #onSettled: (entries: readonly LogEntry[]) => void;
  /** Intents whose certificates were signed, to be written soon. */
  #issued: Issued[] = [];
  #nextLeaf: number;
  /** What the log has besides certificates. */
  readonly notes: LedgerNotes;
  #flushSoon: NodeJS.Immediate | undefined;
  #waiting: Waiting[] = [];
  #untilPrune = 0;
  #refusals: number;
  /** How many intents the last run left without an outcome. */
  readonly interrupted: number;

  /** Opens the ledger in the file `path`, or starts one. `onSettled` is told of issued certificates in the order of their leaves, once each. Throws `unavailable` while another process has it, `invalid-configuration` when it cannot be used. */
  constructor(path: string, onSettled: (entries: readonly LogEntry[]) => void = () => undefined) {
    const database = openLedgerDatabase(path);
    this.#onSettled = onSettled;
    this.#database = database;
    this.interrupted = Number(database.prepare("UPDATE certificates SET state = 'interrupted' WHERE state = 'intended'").run().changes);
    this.#insert = database.prepare(
      "INSERT INTO certificates (serial, identity, caller, not_before, not_after, recorded_at, key_id, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'intended')",
    );
    this.#settle = database.prepare("UPDATE certificates SET state = ?, sha256 = ?, leaf = ?, authority = ? WHERE id = ?");
    this.#choose = database.prepare("UPDATE certificates SET serial = ?, not_before = ?, not_after = ? WHERE id = ?");
    this.#insertRefusal = database.prepare(
      "INSERT OR REPLACE INTO refusals (slot, number, recorded_at, identity, caller, reason, kind) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    this.#prune = database.prepare(
      `DELETE FROM certificates WHERE id < (SELECT min(id) FROM certificates) + ${PRUNE_EVERY * 2} AND recorded_at < ?`,
    );
    const last = database.prepare("SELECT leaf FROM certificates WHERE leaf IS NOT NULL ORDER BY leaf DESC LIMIT 1").get();
    this.notes = new LedgerNotes(database);
    this.#nextLeaf = Math.max(last === undefined ? 0 : Number(last.leaf) + 1, this.notes.nextLeaf);
    this.#refusals = Number(database.prepare("SELECT coalesce(max(number) + 1, 0) AS next FROM refusals").get()?.next);
  }

  /** Records that a certificate is about to be signed. In SQLite's log when it returns. */
  intend(intent: Intent, now: number): IntentId {
    this.#makeRoom();
    return this.#insertIntent(intent, now);
  }

  /** The same in one transaction with all that are intended in this turn of the event loop: resolves when SQLite's log has it. */
  intended(intent: Intent, now: number): Promise<IntentId> {
    const { promise, resolve, reject } = Promise.withResolvers<IntentId>();
    if (this.#waiting.length === 0) setImmediate(() => this.#writeIntents());
    this.#waiting.push({ intent, now, written: resolve, failed: reject });
    return promise;
  }

  #makeRoom(): void {
    if (this.#issued.length >= MAX_UNSETTLED) this.flush();
  }

  #writeIntents(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    try {
      this.#makeRoom();
      const ids = write(() => this.#transaction(() => waiting.map(({ intent, now }) => this.#insertIntent(intent, now))));
      for (const [index, { written, failed }] of waiting.entries()) {
        const id = ids[index];
        if (id === undefined) failed(new AppError("internal", "an intent has no row"));
        else written(id);
      }
    } catch (error) {
      for (const { failed } of waiting) failed(error);
    }
  }

  #insertIntent(intent: Intent, now: number): IntentId {
    if (this.#untilPrune-- === 0) {
      this.#untilPrune = PRUNE_EVERY;
      write(() => this.#prune.run(now - RETENTION_MS));
    }
    const { serial, identity, caller, keyId = null, notBefore, notAfter } = intent;
    const row = write(() => this.#insert.run(serial, identity, caller, notBefore, notAfter, now, keyId).lastInsertRowid);
    return { row, intent, recordedAt: now };
  }

  /** The leaf of the next entry: as many as the log has, or is to have. */
  get nextLeaf(): number {
    return this.#nextLeaf;
  }

  /** What the log does not have yet, from the leaf `first` on. */
  entriesFrom(first: number): readonly LogEntry[] {
    const rows = this.#database.prepare(`SELECT ${CERTIFICATE_COLUMNS} FROM certificates WHERE leaf >= ?`).all(first);
    const certificates = rows.map((row): { readonly leaf: number; readonly entry: LogEntry } => {
      const { leaf = 0, serial, identity, caller, notBefore, notAfter, recordedAt, sha256 = "" } = certificateRecord(row);
      return { leaf, entry: { serial, identity, caller, notBefore, notAfter, recordedAt, sha256 } };
    });
    const notes = notesFrom(this.#database, first).map(({ leaf, note }) => ({ leaf, entry: note }));
    return [...certificates, ...notes].sort((a, b) => a.leaf - b.leaf).map(({ entry }) => entry);
  }

  /** Adds an entry of no certificate to the ledger, and to the log. Throws `unavailable`. */
  note(note: Note): void {
    this.flush();
    write(() => this.notes.add(this.#nextLeaf, note));
    this.#nextLeaf += 1;
    this.#onSettled([note]);
  }

  /** Puts back what only the log has, as after a power cut, from the leaf `nextLeaf` on; what is older than the ledger keeps stays away. Answers how many rows that were. */
  restore(entries: Iterable<LogEntry>, now: number): number {
    const insert = this.#database.prepare(
      `INSERT INTO certificates (${CERTIFICATE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, 'issued', ?, ?, NULL, NULL)`,
    );
    let restored = 0;
    for (const entry of entries) {
      const leaf = this.#nextLeaf++;
      if (isNote(entry)) {
        write(() => this.notes.add(leaf, entry));
        restored += 1;
        continue;
      }
      const { serial, identity, caller, notBefore, notAfter, recordedAt, sha256 } = entry;
      if (recordedAt < now - RETENTION_MS) continue;
      write(() => insert.run(serial, identity, caller, notBefore, notAfter, recordedAt, sha256, leaf));
      restored += 1;
    }
    return restored;
  }

  /** Records that nothing came of an intent. */
  fail({ row }: IntentId): void {
    write(() => this.#settle.run("failed", null, null, null, row));
  }

  /** Records that an intent's certificate was signed and is to be handed out: within this turn of the event loop, together with others. */
  issue(id: IntentId, outcome: Outcome): void {
    this.#issued.push({ ...id, ...outcome });
    this.#flushSoon ??= setImmediate(() => this.#flushQuietly());
  }

  /** Records a refusal; the newest 10,000 are kept. */
  refuse(refusal: Omit<RefusalRecord, "recordedAt" | "kind"> & Partial<Pick<RefusalRecord, "kind">>, now: number): void {
    const number = this.#refusals++;
    const { identity, caller, reason, kind = "certificate" } = refusal;
    write(() => this.#insertRefusal.run(number % MAX_REFUSALS, number, now, identity, caller, reason.slice(0, MAX_REASON), kind));
  }

  /** The record of one certificate by its serial in hex. */
  find(serial: string): CertificateRecord | undefined {
    return this.certificates({ serial, limit: 1 })[0];
  }

  /** Every issued certificate of an identity, or with a key (its identifier in hex), that has not expired at `now`. */
  unexpired(
    of: { readonly identity: string } | { readonly keyId: string } | { readonly authority: string },
    now: number,
  ): readonly CertificateRecord[] {
    this.flush();
    const [[column, value] = ["", ""]] = Object.entries(of).map(([name, text]) => [COLUMN_OF[name as keyof typeof COLUMN_OF], text]);
    const sql = `SELECT ${CERTIFICATE_COLUMNS} FROM certificates WHERE ${column} = ? AND state = 'issued' AND not_after >= ?`;
    return this.#database.prepare(sql).all(value, now).map(certificateRecord);
  }

  /** The serials of those that have not expired at `now` and are of no known key: what was put back from the log, which has none. */
  keyless(now: number): readonly string[] {
    const sql = "SELECT serial FROM certificates WHERE key_id IS NULL AND state = 'issued' AND not_after >= ?";
    return this.#database
      .prepare(sql)
      .all(now)
      .map(({ serial }) => String(serial));
  }

  /** Whose certificates of an authority (its key identifier in hex) have not expired at `now`. What is of no known authority may be of any, and counts for each. */
  holdersOf(authority: string, now: number): readonly AuthorityHolder[] {
    this.flush();
    return queryHolders(this.#database, authority, now);
  }

  /** The key identifiers of all whose certificates have not expired at `now`; empty for one that is not known. */
  authoritiesInUse(now: number): readonly string[] {
    this.flush();
    const sql = "SELECT DISTINCT coalesce(authority, '') AS authority FROM certificates WHERE state = 'issued' AND not_after >= ?";
    return this.#database
      .prepare(sql)
      .all(now)
      .map(({ authority }) => String(authority));
  }

  /** Names the authority of all that were issued before there were several. */
  attribute(authority: string): void {
    this.flush();
    write(() =>
      this.#database.prepare("UPDATE certificates SET authority = ? WHERE authority IS NULL AND state = 'issued'").run(authority),
    );
  }

  /** The newest certificates first. */
  certificates(filter: LedgerFilter): readonly CertificateRecord[] {
    this.flush();
    return queryCertificates(this.#database, filter);
  }

  /** The newest refusals first. */
  refusals(filter: LedgerFilter): readonly RefusalRecord[] {
    return queryRefusals(this.#database, filter);
  }

  close(): void {
    this.flush();
    this.#database.close();
  }

  /** Writes the outcomes that wait. */
  flush(): void {
    clearImmediate(this.#flushSoon);
    this.#flushSoon = undefined;
    const issued = this.#issued;
    if (issued.length === 0) return;
    write(() => this.#settleIssued(issued));
    this.#issued = [];
    this.#nextLeaf += issued.length;
    this.#onSettled(issued.map(({ intent, recordedAt, sha256, chosen }) => ({ ...intent, ...chosen, recordedAt, sha256 })));
  }

  #settleIssued(issued: readonly Issued[]): void {
    this.#transaction(() => {
      for (const [index, { row, sha256, authority = null, chosen }] of issued.entries()) {
        if (chosen !== undefined) this.#choose.run(chosen.serial, chosen.notBefore, chosen.notAfter, row);
        this.#settle.run("issued", sha256, this.#nextLeaf + index, authority, row);
      }
    });
  }

  #transaction<T>(run: () => T): T {
    this.#database.exec("BEGIN");
    try {
      const result = run();
      this.#database.exec("COMMIT");
      return result;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  /** A failure keeps the outcomes waiting; when 64 wait, `intend` throws until they can be written. */
  #flushQuietly(): void {
    try {
      this.flush();
    } catch {
      // Told by the next `intend` that needs the room, and by `Authority.recorded`.
    }
  }
}
