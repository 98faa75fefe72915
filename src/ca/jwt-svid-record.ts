/** The record of every JWT-SVID, made before the token is handed out: who, for whom, when; never the token itself. */
import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { AppError } from "../core/error.ts";

export interface JwtSvidEntry {
  /** The token's `jti`. */
  readonly id: string;
  readonly identity: string;
  readonly audiences: readonly string[];
  /** Milliseconds. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS jwt_svids (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, identity TEXT NOT NULL, audiences TEXT NOT NULL,
    issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
  ) STRICT;`;
const SETTINGS = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;";
/** They live for minutes; the newest ones are kept. */
const MAX_ENTRIES = 500_000;
const PRUNE_EVERY = 1_000;

export class JwtSvidRecord {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #prune: StatementSync;
  #untilPrune = 0;

  /** Opens the record in the file `path`, or starts one (0600). Throws `invalid-configuration` for a file that is none. */
  constructor(path: string) {
    try {
      closeSync(openSync(path, "a", 0o600));
      this.#database = new DatabaseSync(path, { timeout: 500 });
      this.#database.exec(SETTINGS + SCHEMA);
    } catch (cause) {
      throw new AppError("invalid-configuration", `\`${path}\` cannot be opened as the record of JWT-SVIDs`, {
        help: "stop the other control plane of this state folder, or move the file away to start an empty one",
        cause,
      });
    }
    this.#insert = this.#database.prepare("INSERT INTO jwt_svids (id, identity, audiences, issued_at, expires_at) VALUES (?, ?, ?, ?, ?)");
    this.#prune = this.#database.prepare("DELETE FROM jwt_svids WHERE number <= (SELECT max(number) FROM jwt_svids) - ?");
  }

  /** Throws `unavailable` when it cannot be written: what is not recorded is not issued. */
  add({ id, identity, audiences, issuedAt, expiresAt }: JwtSvidEntry): void {
    try {
      this.#insert.run(id, identity, JSON.stringify(audiences), issuedAt, expiresAt);
      if (this.#untilPrune-- > 0) return;
      this.#untilPrune = PRUNE_EVERY;
      this.#prune.run(MAX_ENTRIES);
    } catch (cause) {
      throw new AppError("unavailable", "the record of JWT-SVIDs cannot be written", {
        help: "look at the disk of the state folder",
        cause,
      });
    }
  }

  /** The newest first. */
  newest(limit: number): readonly JwtSvidEntry[] {
    const rows = this.#database
      .prepare("SELECT id, identity, audiences, issued_at, expires_at FROM jwt_svids ORDER BY number DESC LIMIT ?")
      .all(limit);
    return rows.map((row) => ({
      id: String(row.id),
      identity: String(row.identity),
      audiences: JSON.parse(String(row.audiences)) as readonly string[],
      issuedAt: Number(row.issued_at),
      expiresAt: Number(row.expires_at),
    }));
  }

  close(): void {
    this.#database.close();
  }
}
