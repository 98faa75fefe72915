/**
 * Join tokens: each lets one workload of a machine without any other credential get its first certificate, once. Kept as hashes; what uses
 * one up is a single statement, so that of two at the same time one is refused (time of check is time of use), and it is on
 * disk before the answer, so that no restart revives one.
 */
import { createHash, randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type SQLOutputValue, type StatementSync } from "node:sqlite";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";

export interface JoinTokenSubject {
  readonly namespace: string;
  /** The service account's name. */
  readonly name: string;
  /** `NAMESPACE/NAME` of the one workload that it is for; undefined for any of the account. */
  readonly workload: string | undefined;
}

export interface JoinTokenRecord extends JoinTokenSubject {
  /** The beginning of its hash: enough to tell it from others, and of no use to anybody. */
  readonly id: string;
  /** Milliseconds. */
  readonly createdAt: number;
  readonly expiresAt: number;
  readonly usedAt: number | undefined;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS join_tokens (
    hash TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, workload TEXT,
    created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL, used_at INTEGER
  ) STRICT, WITHOUT ROWID;`;
const SETTINGS = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
/** 256 random bits: nothing that could be guessed, so a plain hash keeps it. */
const TOKEN = /^join-[A-Za-z0-9_-]{43}$/;
const ID_CHARACTERS = 12;
const MAX_OPEN = 10_000;
const FORGET_AFTER_MS = 30 * 86_400_000;

type Row = Readonly<Record<string, SQLOutputValue>>;

const hashOf = (token: string) => createHash("sha256").update(token).digest("hex");

function recordOf(row: Row): JoinTokenRecord {
  return {
    id: String(row.hash).slice(0, ID_CHARACTERS),
    namespace: String(row.namespace),
    name: String(row.name),
    workload: row.workload === null ? undefined : String(row.workload),
    createdAt: Number(row.created_at),
    expiresAt: Number(row.expires_at),
    usedAt: row.used_at === null ? undefined : Number(row.used_at),
  };
}

/** Whether a bearer token is meant as one. */
export function isJoinToken(token: string): boolean {
  return token.startsWith("join-");
}

export class JoinTokens {
  readonly #database: DatabaseSync;
  readonly #clock: Clock;
  readonly #use: StatementSync;
  readonly #find: StatementSync;

  /** Opens the file `path`, or starts one (0600). Throws `invalid-configuration` for a file that is none. */
  constructor(path: string, clock: Clock) {
    this.#clock = clock;
    try {
      closeSync(openSync(path, "a", 0o600));
      this.#database = new DatabaseSync(path, { timeout: 500 });
      this.#database.exec(SETTINGS + SCHEMA);
    } catch (cause) {
      throw new AppError("invalid-configuration", `\`${path}\` cannot be opened as the list of join tokens`, {
        help: "stop the other control plane of this state folder, or move the file away: the tokens made so far are then worth nothing",
        cause,
      });
    }
    this.#use = this.#database.prepare(
      "UPDATE join_tokens SET used_at = ?1 WHERE hash = ?2 AND used_at IS NULL AND expires_at > ?1 RETURNING *",
    );
    this.#find = this.#database.prepare("SELECT * FROM join_tokens WHERE hash = ?");
  }

  /** A new token, told this once. Throws `resource-exhausted` while too many are open. */
  create({ namespace, name, workload }: JoinTokenSubject, ttlSeconds: number): { readonly token: string; readonly expiresAt: number } {
    const now = this.#clock.now();
    this.#database.prepare("DELETE FROM join_tokens WHERE expires_at < ?").run(now - FORGET_AFTER_MS);
    const open = this.#database.prepare("SELECT count(*) AS n FROM join_tokens WHERE used_at IS NULL AND expires_at > ?").get(now);
    if (Number(open?.n) >= MAX_OPEN) {
      throw new AppError("resource-exhausted", `${MAX_OPEN} join tokens are not used yet`, {
        help: "wait until some have expired, and make shorter ones",
      });
    }
    const token = `join-${randomBytes(32).toString("base64url")}`;
    const expiresAt = now + ttlSeconds * 1_000;
    this.#database
      .prepare("INSERT INTO join_tokens (hash, namespace, name, workload, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)")
      .run(hashOf(token), namespace, name, workload ?? null, now, expiresAt);
    return { token, expiresAt };
  }

  /** Whom the token is for, without using it up. Throws `unauthenticated` for one that is not good. */
  look(token: string): JoinTokenSubject {
    const record = this.#record(token);
    this.#refuse(record);
    return record;
  }

  /** Uses the token up. Throws `unauthenticated` for one that is not good, or not any more. */
  use(token: string): JoinTokenSubject {
    const record = this.#record(token);
    const row = this.#use.get(this.#clock.now(), hashOf(token));
    if (row !== undefined) return recordOf(row);
    this.#refuse(record);
    throw refusal("already used");
  }

  /** The newest first. */
  list(limit: number): readonly JoinTokenRecord[] {
    return this.#database.prepare("SELECT * FROM join_tokens ORDER BY created_at DESC LIMIT ?").all(limit).map(recordOf);
  }

  close(): void {
    this.#database.close();
  }

  #record(token: string): JoinTokenRecord {
    const row = TOKEN.test(token) ? this.#find.get(hashOf(token)) : undefined;
    if (row === undefined) throw refusal("unknown");
    return recordOf(row);
  }

  #refuse({ usedAt, expiresAt }: JoinTokenRecord): void {
    if (usedAt !== undefined) throw refusal("already used");
    if (expiresAt <= this.#clock.now()) throw refusal("expired");
  }
}

function refusal(why: string): AppError {
  return new AppError("unauthenticated", `the join token was refused: ${why}`, { help: "make a new one with `garrison token join`" });
}
