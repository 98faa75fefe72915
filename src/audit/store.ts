/**
 * The audit store: an append-only log in SQLite. Appending never throws and never makes a proxy wait: what cannot be
 * written is dropped, counted and logged.
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { Deliveries, type Delivery } from "./delivery.ts";
import { type AuditFilter, toSql } from "./filter.ts";
import { type AuditRecord, boundConnectionEnd, boundRecord, type ConnectionEnd, type NewAuditRecord } from "./record.ts";
import { COMPLETE, fromRow, INSERT, openDatabase, type Row, SELECT, toCompletion, toRow } from "./schema.ts";
import { ThrottledLog } from "./throttled-log.ts";
import { Turn } from "./turn.ts";

export interface AuditStoreOptions {
  /** The database file, in a folder that exists. */
  readonly file: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Records older than this many milliseconds are removed. */
  readonly maxAgeMs?: number;
  /** Of more records than this, the oldest are removed. */
  readonly maxRecords?: number;
  /** Of more bytes than this in the database, the oldest records are removed; no such bound without. */
  readonly maxBytes?: number;
}

/** What the store has done since it was opened, and what it holds. */
export interface AuditStats {
  readonly records: number;
  readonly appended: number;
  /** Records that could not be written, and are lost. */
  readonly dropped: number;
}

/** A record with the time of its arrival, which never goes back from one to the next; milliseconds. */
export interface ArrivedRecord {
  readonly received: number;
  readonly record: AuditRecord;
}

const DEFAULT_MAX_AGE_MS = 30 * 24 * 3600 * 1000;
const DEFAULT_MAX_RECORDS = 5_000_000;
/** Age must be looked at also when nothing arrives. */
const PRUNE_INTERVAL_MS = 60_000;
/** Rows removed in one turn of the event loop, and ids looked at: some milliseconds each, so that nobody else waits long. */
const PRUNE_ROWS = 5_000;
const WINDOW_IDS = 20_000;
const WINDOW_ROWS = 500;
/** Records that wait for the end of the turn, when they are written in one transaction. */
const MAX_PENDING = 2_000;

export class AuditStore {
  readonly #db: DatabaseSync;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #failures: ThrottledLog;
  readonly #insert: StatementSync;
  readonly #complete: StatementSync;
  readonly #numbered: Deliveries;
  readonly #delete: StatementSync;
  readonly #seek: StatementSync;
  readonly #maxAgeMs: number;
  readonly #maxRecords: number;
  readonly #maxBytes: number;
  readonly #pages: StatementSync;
  readonly #timer: NodeJS.Timeout;
  readonly #waiting = new Set<() => void>();
  #turn = new Turn();
  #flushing: NodeJS.Immediate | undefined;
  #pruning: NodeJS.Immediate | undefined;
  #closed = false;
  #received: number;
  #first: number;
  #last: number;
  #appended = 0;
  #dropped = 0;
  #failing = 0;

  /** Opens or makes the store. Throws AppError as `openDatabase` does. */
  constructor(options: AuditStoreOptions) {
    const {
      file,
      clock,
      logger,
      maxAgeMs = DEFAULT_MAX_AGE_MS,
      maxRecords = DEFAULT_MAX_RECORDS,
      maxBytes = Number.POSITIVE_INFINITY,
    } = options;
    this.#db = openDatabase(file);
    this.#clock = clock;
    this.#logger = logger;
    this.#failures = new ThrottledLog(logger, clock);
    this.#maxAgeMs = maxAgeMs;
    this.#maxRecords = maxRecords;
    this.#maxBytes = maxBytes;
    this.#pages = this.#db.prepare(
      "SELECT (page_count - freelist_count) * page_size AS value FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    );
    this.#insert = this.#db.prepare(INSERT);
    this.#complete = this.#db.prepare(COMPLETE);
    this.#numbered = new Deliveries(this.#db);
    this.#delete = this.#db.prepare("DELETE FROM record WHERE id < ?");
    this.#seek = this.#db.prepare("SELECT id FROM record WHERE received >= ? ORDER BY received, id LIMIT 1");
    this.#last = this.#number("SELECT coalesce(max(seq), 0) AS value FROM sqlite_sequence");
    this.#first = this.#number("SELECT coalesce(min(id), ? + 1) AS value FROM record", this.#last);
    this.#received = this.#number("SELECT coalesce(max(received), 0) AS value FROM record");
    this.#timer = setInterval(() => this.prune(), PRUNE_INTERVAL_MS);
    this.#timer.unref();
  }

  #number(sql: string, ...values: number[]): number {
    return Number(this.#db.prepare(sql).get(...values)?.value);
  }

  /**
   * Takes records in, and completes those of connections that have ended (an end without its record is ignored). All of one turn of the
   * event loop is written at its end, in one transaction. Never throws.
   */
  append(records: readonly NewAuditRecord[], ends: readonly ConnectionEnd[] = []): void {
    if (this.#closed) {
      this.#dropped += records.length;
      return;
    }
    this.#turn.add(records, ends);
    this.#flushSoon();
  }

  /**
   * Takes in what is new of a delivery, in the transaction of its turn. Resolves when it is written, now or before; rejects with
   * `unavailable` where it cannot be, and its reporter has to keep it.
   */
  deliver(delivery: Delivery): Promise<void> {
    if (this.#closed) return Promise.reject(new AppError("unavailable", "the record is closed"));
    const written = this.#turn.deliver(delivery);
    this.#flushSoon();
    return written;
  }

  #flushSoon(): void {
    if (this.#turn.size >= MAX_PENDING) this.flush();
    else this.#flushing ??= setImmediate(() => this.flush());
  }

  /** Writes what waits. Never throws. */
  flush(): void {
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    if (this.#turn.isEmpty) return;
    const turn = this.#turn;
    this.#turn = new Turn();
    try {
      this.#wrote(this.#write(turn));
      for (const { resolve } of turn.deliveries) resolve();
    } catch (error) {
      this.#failed(turn.records.length, error);
      for (const { reject } of turn.deliveries) reject(new AppError("unavailable", "the record cannot be written now", { cause: error }));
    }
    this.prune();
    for (const wake of this.#waiting) wake();
  }

  /** How many records were written. Throws when nothing was: it is all or nothing. */
  #write({ records, ends, deliveries }: Turn): number {
    const received = Math.max(this.#received, this.#clock.now());
    let [last, written] = [this.#last, 0];
    const insert = (record: NewAuditRecord) => {
      // A proxy whose clock is ahead would put a record out of reach of `since`: nothing is served after it was reported.
      const { lastInsertRowid } = this.#insert.run(...toRow(received, { ...record, time: Math.min(record.time, received) }));
      last = Number(lastInsertRowid);
      written++;
    };
    const sink = {
      record: (record: NewAuditRecord) => insert(boundRecord(record)),
      end: (end: ConnectionEnd) => this.#complete.run(...toCompletion(boundConnectionEnd(end))),
    };
    this.#db.exec("BEGIN");
    try {
      for (const record of records) insert(record);
      for (const end of ends) this.#complete.run(...toCompletion(end));
      for (const { delivery } of deliveries) this.#numbered.write(delivery, received, sink);
      this.#db.exec("COMMIT");
      this.#last = last;
    } catch (error) {
      // A full disk makes SQLite roll back on its own; then there is no transaction to end.
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
    this.#received = received;
    return written;
  }

  #wrote(count: number): void {
    this.#appended += count;
    if (this.#failing === 0) return;
    this.#logger.log("info", "audit records are written again", { lost: this.#failing });
    this.#failing = 0;
  }

  #failed(count: number, error: unknown): void {
    this.#dropped += count;
    this.#failing += count;
    this.#failures.log("error", "audit records cannot be written and are dropped", { reason: reasonOf(error), dropped: this.#dropped });
  }

  /** Removes what is too old or too much, a slice in a turn; called after every write, and each minute. Never throws. */
  prune(): void {
    clearImmediate(this.#pruning);
    this.#pruning = undefined;
    try {
      const keepFrom = Math.max(this.#idAt(this.#clock.now() - this.#maxAgeMs), this.#last - this.#maxKept() + 1);
      const next = Math.min(keepFrom, this.#first + PRUNE_ROWS);
      if (next <= this.#first) return;
      this.#delete.run(next);
      this.#first = next;
      if (next < keepFrom) this.#pruning = setImmediate(() => this.prune());
    } catch (error) {
      this.#failures.log("error", "old audit records cannot be removed", { reason: reasonOf(error) });
    }
  }

  /** How many records may stay: where they take too many bytes, as many as would take those allowed. */
  #maxKept(): number {
    if (this.#maxBytes === Number.POSITIVE_INFINITY) return this.#maxRecords;
    const { bytes } = this;
    if (bytes <= this.#maxBytes) return this.#maxRecords;
    const held = this.#last - this.#first + 1;
    return Math.min(this.#maxRecords, Math.floor((held * this.#maxBytes) / bytes));
  }

  /** The first id that was received at or after a time; the next one to come if there is none. */
  #idAt(received: number): number {
    const row = this.#seek.get(received);
    return row === undefined ? this.#last + 1 : Number(row.id);
  }

  /** The records of a filter that are there now. Looks at some thousands in a turn of the event loop, then lets others go first. */
  query(filter: AuditFilter): AsyncGenerator<AuditRecord, void, undefined> {
    return this.#query(filter, fromRow);
  }

  /** The same with the times of their arrival. */
  queryArrived(filter: AuditFilter): AsyncGenerator<ArrivedRecord, void, undefined> {
    return this.#query(filter, fromArrivedRow);
  }

  async *#query<T>(filter: AuditFilter, of: (row: Row) => T): AsyncGenerator<T, void, undefined> {
    if (this.#closed) return;
    this.flush();
    const from = Math.max((filter.afterId ?? 0) + 1, filter.since === undefined ? 1 : this.#idAt(filter.since), this.#first);
    yield* take(this.#scan(filter, from, this.#last, of), filter.limit);
  }

  /**
   * Records as they come, oldest first, beginning after `afterId` (or with those from `since` on; with neither, only new ones), until the signal
   * or `close`. It reads from the file at its consumer's pace, so that a slow one costs no memory, and nothing is lost or told twice.
   */
  async *follow(filter: AuditFilter, signal: AbortSignal): AsyncGenerator<AuditRecord, void, undefined> {
    if (this.#closed) return;
    this.flush();
    const { since, afterId = since === undefined ? this.#last : this.#idAt(since) - 1 } = filter;
    yield* take(this.#tail({ ...filter, order: "oldest" }, afterId, signal), filter.limit);
  }

  async *#tail(filter: AuditFilter, afterId: number, signal: AbortSignal): AsyncGenerator<AuditRecord, void, undefined> {
    let told = afterId;
    while (!signal.aborted && !this.#closed) {
      const upTo = this.#last;
      yield* this.#scan(filter, Math.max(told + 1, this.#first), upTo, fromRow);
      told = Math.max(told, upTo);
      if (told >= this.#last && !signal.aborted && !this.#closed) await this.#change(signal);
    }
  }

  /** Resolves with the next write, `close` or the signal. */
  async #change(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = () => resolve();
    this.#waiting.add(wake);
    signal.addEventListener("abort", wake);
    await promise;
    signal.removeEventListener("abort", wake);
    this.#waiting.delete(wake);
  }

  /** The matching records with ids of a range, window by window. */
  async *#scan<T>(filter: AuditFilter, first: number, last: number, of: (row: Row) => T): AsyncGenerator<T, void, undefined> {
    const newest = filter.order === "newest";
    const { sql, values } = toSql(filter);
    const statement = this.#db.prepare(
      `${SELECT} WHERE id BETWEEN ? AND ?${sql} ORDER BY id ${newest ? "DESC" : "ASC"} LIMIT ${WINDOW_ROWS}`,
    );
    let [low, high] = [first, last];
    while (low <= high && !this.#closed) {
      const edge = newest ? Math.max(low, high - WINDOW_IDS + 1) : Math.min(high, low + WINDOW_IDS - 1);
      const rows = statement.all(newest ? edge : low, newest ? high : edge, ...values);
      yield* rows.map(of);
      const reached = rows.length === WINDOW_ROWS ? Number(rows.at(-1)?.id ?? edge) : edge;
      if (newest) high = reached - 1;
      else low = reached + 1;
      await nextTurn();
    }
  }

  stats(): AuditStats {
    return {
      records: this.#last - this.#first + 1,

      appended: this.#appended,
      dropped: this.#dropped,
    };
  }

  /** What the records take of the disk. Throws once it is closed. */
  get bytes(): number {
    return Number(this.#pages.get()?.value);
  }

  /** Writes what waits and ends every follower. */
  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    clearInterval(this.#timer);
    clearImmediate(this.#pruning);
    for (const wake of this.#waiting) wake();
    this.#db.close();
  }
}

function fromArrivedRow(row: Row): ArrivedRecord {
  return { received: Number(row.received), record: fromRow(row) };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The first `limit` of them; all, without a limit. */
async function* take<T>(items: AsyncIterable<T>, limit: number | undefined): AsyncGenerator<T, void, undefined> {
  if (limit === 0) return;
  let left = limit ?? Number.POSITIVE_INFINITY;
  for await (const item of items) {
    yield item;
    if (--left <= 0) return;
  }
}
