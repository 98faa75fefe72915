/**
 * Which instances have joined: a document proves its instance for as long as anybody has a copy, so that it counts once for each start of the
 * instance (trust on first use). One statement uses it up, on the disk before the answer.
 */
import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { AppError } from "../../core/error.ts";
import type { AwsInstance } from "./aws-document.ts";

const SCHEMA =
  "CREATE TABLE IF NOT EXISTS joins (instance TEXT PRIMARY KEY, pending_at INTEGER NOT NULL, joined_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;";
const SETTINGS = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
/** Longer than any document may count (a year). */
const FORGET_AFTER_MS = 400 * 86_400_000;

function refusal(): AppError {
  return new AppError("unauthenticated", "the instance identity document was refused: its instance has joined already");
}

export class InstanceJoins {
  readonly #database: DatabaseSync;
  readonly #use: StatementSync;
  readonly #find: StatementSync;

  /** Opens the file `path`, or starts one (0600). Throws `invalid-configuration` for a file that is none. */
  constructor(path: string) {
    try {
      closeSync(openSync(path, "a", 0o600));
      this.#database = new DatabaseSync(path, { timeout: 500 });
      this.#database.exec(SETTINGS + SCHEMA);
    } catch (cause) {
      throw new AppError("invalid-configuration", `\`${path}\` cannot be opened as the list of instances that have joined`, {
        help: "stop the other control plane of this state folder, or restore the file: without it, copies of documents count again",
        cause,
      });
    }
    this.#use = this.#database.prepare(
      `INSERT INTO joins (instance, pending_at, joined_at) VALUES (?1, ?2, ?3)
       ON CONFLICT (instance) DO UPDATE SET pending_at = ?2, joined_at = ?3 WHERE ?2 > pending_at`,
    );
    this.#find = this.#database.prepare("SELECT 1 FROM joins WHERE instance = ? AND pending_at >= ?");
  }

  /** Throws `unauthenticated` for an instance that has joined since it was started. */
  check({ instance, pendingAt }: Pick<AwsInstance, "instance" | "pendingAt">): void {
    if (this.#find.get(instance, pendingAt) !== undefined) throw refusal();
  }

  /** Lets an instance join, once for each of its starts. Throws `unauthenticated`. */
  use({ instance, pendingAt }: Pick<AwsInstance, "instance" | "pendingAt">, now: number): void {
    this.#database.prepare("DELETE FROM joins WHERE pending_at < ?").run(now - FORGET_AFTER_MS);
    if (Number(this.#use.run(instance, pendingAt, now).changes) === 0) throw refusal();
  }

  close(): void {
    this.#database.close();
  }
}
