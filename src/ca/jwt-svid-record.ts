/**
 * The ledger's part of JWT-SVIDs: a row of each, made before the token is handed out: who, for whom, when; never the token itself. In a file of its
 * own, as they come and go by the minute; its rows are sealed in the log (`jwt-svid-seals.ts`).
 */
import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type SQLOutputValue, type StatementSync } from "node:sqlite";
import { AppError } from "../core/error.ts";
import type { LedgerFilter } from "./ledger-query.ts";
import { Tree } from "./log/tree.ts";

export interface JwtSvidEntry {
  /** The token's `jti`. */
  readonly id: string;
  readonly identity: string;
  readonly audiences: readonly string[];
  /** Milliseconds. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  /** SHA-256 in hex of the token's header and claims as they are signed, without the signature; empty in rows of before. */
  readonly sha256: string;
}

const VERSION = 1;
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS jwt_svids (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, identity TEXT NOT NULL, audiences TEXT NOT NULL,
    issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
  ) STRICT;`;
/** Before they were in the log they had no digest. */
const FROM_VERSION_0 = `ALTER TABLE jwt_svids ADD COLUMN sha256 TEXT NOT NULL DEFAULT ''; PRAGMA user_version = ${VERSION};`;
const SETTINGS = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;";
/** In the state folder. */
export const JWT_SVIDS_FILE = "jwt-svids.sqlite";
/** They live for minutes; the newest ones are kept. */
export const MAX_JWT_SVIDS = 500_000;
const PRUNE_EVERY = 1_000;
const COLUMNS = "number, id, identity, audiences, issued_at, expires_at, sha256";

type Row = Readonly<Record<string, SQLOutputValue>>;

function entryOf(row: Row): JwtSvidEntry {
  return {
    id: String(row.id),
    identity: String(row.identity),
    audiences: JSON.parse(String(row.audiences)) as readonly string[],
    issuedAt: Number(row.issued_at),
    expiresAt: Number(row.expires_at),
    sha256: String(row.sha256),
  };
}

/** Whatever is in a row, as one text. */
function leafOf(row: Row): Uint8Array {
  const { number, id, identity, audiences, issued_at, expires_at, sha256 } = row;
  return Buffer.from(JSON.stringify([number, id, identity, audiences, issued_at, expires_at, sha256]));
}

/** The rows from one number to another: how many there are, and the root of their tree in hex. */
export function rootOfRows(database: DatabaseSync, first: number, last: number): { readonly count: number; readonly sha256: string } {
  const tree = new Tree();
  for (const row of database.prepare(`SELECT ${COLUMNS} FROM jwt_svids WHERE number BETWEEN ? AND ? ORDER BY number`).iterate(first, last))
    tree.add(leafOf(row));
  return { count: tree.size, sha256: Buffer.from(tree.root()).toString("hex") };
}

export class JwtSvidRecord {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #prune: StatementSync;
  #next: number;
  #untilPrune = 0;

  /** Opens the record in the file `path`, or starts one (0600). Throws `invalid-configuration` for a file that is none. */
  constructor(path: string) {
    try {
      closeSync(openSync(path, "a", 0o600));
      this.#database = new DatabaseSync(path, { timeout: 500 });
      this.#database.exec(SETTINGS + SCHEMA);
      if (this.#database.prepare("PRAGMA user_version").get()?.user_version === 0) this.#database.exec(`BEGIN; ${FROM_VERSION_0} COMMIT;`);
    } catch (cause) {
      throw new AppError("invalid-configuration", `\`${path}\` cannot be opened as the record of JWT-SVIDs`, {
        help: "stop the other control plane of this state folder, or move the file away to start an empty one",
        cause,
      });
    }
    this.#insert = this.#database.prepare(`INSERT INTO jwt_svids (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)`);
    this.#prune = this.#database.prepare("DELETE FROM jwt_svids WHERE number <= ?");
    this.#next = Number(this.#database.prepare("SELECT coalesce(max(number), 0) + 1 AS next FROM jwt_svids").get()?.next);
  }

  /** The number of the newest row; 0 before the first. */
  get last(): number {
    return this.#next - 1;
  }

  /** Numbers that were given are never given again, also where the file was lost. */
  continueAfter(number: number): void {
    this.#next = Math.max(this.#next, number + 1);
  }

  /** Throws `unavailable` when it cannot be written: what is not recorded is not issued. */
  add({ id, identity, audiences, issuedAt, expiresAt, sha256 }: JwtSvidEntry): void {
    try {
      this.#insert.run(this.#next, id, identity, JSON.stringify(audiences), issuedAt, expiresAt, sha256);
      this.#next += 1;
      if (this.#untilPrune-- > 0) return;
      this.#untilPrune = PRUNE_EVERY;
      this.#prune.run(this.last - MAX_JWT_SVIDS);
    } catch (cause) {
      throw new AppError("unavailable", "the record of JWT-SVIDs cannot be written", {
        help: "look at the disk of the state folder",
        cause,
      });
    }
  }

  /** The root of the rows from `first` to the newest, which are on the disk when it returns; undefined where there is none. */
  seal(first: number): { readonly first: number; readonly last: number; readonly sha256: string } | undefined {
    const { last } = this;
    const { min } = this.#database.prepare("SELECT min(number) AS min FROM jwt_svids WHERE number >= ?").get(first) ?? {};
    if (typeof min !== "number") return undefined;
    this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    return { first: min, last, sha256: rootOfRows(this.#database, min, last).sha256 };
  }

  /** The newest first. */
  newest(limit: number): readonly JwtSvidEntry[] {
    return this.list({ limit });
  }

  /** The newest first, by identity, times and limit. */
  list({ identity, since, until, limit }: Pick<LedgerFilter, "identity" | "since" | "until" | "limit">): readonly JwtSvidEntry[] {
    const conditions = [
      ["identity = ?", identity],
      ["issued_at >= ?", since],
      ["issued_at < ?", until],
    ].filter((each): each is [string, string | number] => each[1] !== undefined);
    const where = conditions.length === 0 ? "" : `WHERE ${conditions.map(([sql]) => sql).join(" AND ")}`;
    const statement = this.#database.prepare(`SELECT ${COLUMNS} FROM jwt_svids ${where} ORDER BY number DESC LIMIT ?`);
    return statement.all(...conditions.map(([, value]) => value), limit).map(entryOf);
  }

  close(): void {
    this.#database.close();
  }
}
