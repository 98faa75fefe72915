/**
 * What was revoked: certificates, for ever; identities and keys that get none any more, the former until they are given free again. In a
 * file of its own with full synchronization: what was said to be revoked is revoked after a power cut too.
 */
import { closeSync, openSync } from "node:fs";
import { DatabaseSync, type SQLOutputValue } from "node:sqlite";
import { AppError } from "../core/error.ts";
import type { RevocationReason, RevokedCertificate } from "../x509/revocation-list.ts";
import type { CertificateRecord } from "./ledger-database.ts";

/** A certificate that is revoked and has not expired. */
export interface RevokedRecord extends RevokedCertificate {
  readonly identity: string;
  /** Of its DER, in hex. */
  readonly sha256: string;
  /** Milliseconds. */
  readonly notAfter: number;
}

/** What gets no certificate: a SPIFFE ID, or a key by the hex of its key identifier. */
export interface Block {
  readonly kind: "identity" | "key";
  readonly value: string;
  /** Milliseconds. */
  readonly since: number;
  readonly reason: RevocationReason;
}

const VERSION = 1;
const SCHEMA = `
  CREATE TABLE certificates (
    serial TEXT PRIMARY KEY, identity TEXT NOT NULL, sha256 TEXT NOT NULL, not_after INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL, reason TEXT NOT NULL
  ) STRICT;
  CREATE TABLE blocks (kind TEXT NOT NULL, value TEXT NOT NULL, since INTEGER NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (kind, value)) STRICT;
  CREATE TABLE lists (number INTEGER PRIMARY KEY) STRICT;
  PRAGMA user_version = ${VERSION};`;

/** An older version reads a file with them as before. */
const LATER_TABLES = `
  CREATE TABLE IF NOT EXISTS last (at INTEGER PRIMARY KEY) STRICT;
  CREATE TABLE IF NOT EXISTS freed (identity TEXT PRIMARY KEY) STRICT;
  CREATE TABLE IF NOT EXISTS kept_lists (authority TEXT PRIMARY KEY, pem TEXT NOT NULL, not_after INTEGER NOT NULL, kept INTEGER NOT NULL) STRICT;`;
/** What has expired for so long is refused for that by every clock. */
const FORGET_AFTER_MS = 86_400_000;
/** A verifier whose clock is behind by less takes a certificate for so long after it has expired here. */
const CLOCKS_DIFFER_MS = 3_600_000;
/** Of issuers that were replaced one after the other. */
const MAX_KEPT_LISTS = 8;

/** A list that outlives the key that signed it. */
export interface KeptList {
  /** Key identifier in hex. */
  readonly authority: string;
  readonly pem: string;
  /** Milliseconds. */
  readonly notAfter: number;
}

type Row = Readonly<Record<string, SQLOutputValue>>;

function recordOf(row: Row): RevokedRecord {
  return {
    serial: String(row.serial),
    identity: String(row.identity),
    sha256: String(row.sha256),
    notAfter: Number(row.not_after),
    revokedAt: Number(row.revoked_at),
    reason: String(row.reason) as RevocationReason,
  };
}

function open(path: string): DatabaseSync {
  try {
    closeSync(openSync(path, "a", 0o600));
    const database = new DatabaseSync(path);
    database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    const version = database.prepare("PRAGMA user_version").get()?.user_version;
    if (version === 0) database.exec(`BEGIN; ${SCHEMA} COMMIT;`);
    else if (version !== VERSION) throw new Error(`it was written by another version (${String(version)})`);
    database.exec(LATER_TABLES);
    return database;
  } catch (cause) {
    // Without it a revoked certificate would be good again.
    throw new AppError("invalid-configuration", `\`${path}\` cannot be opened as the record of revocations`, {
      help: "restore it from a backup, or move it away: what the log of certificates has of it is put back",
      cause,
    });
  }
}

export class Revocations {
  readonly #database: DatabaseSync;
  readonly #certificates = new Map<string, RevokedRecord>();
  readonly #blocks = new Map<string, Block>();
  readonly #listeners: (() => void)[] = [];
  /** When a certificate was revoked last, also where it has expired since; 0 where none ever was. */
  #last: number;

  /** Opens the record in the file `path`, or starts one. Forgets nothing: the clock of a machine that starts may not be set yet. Throws `invalid-configuration`. */
  constructor(path: string) {
    this.#database = open(path);
    this.#last = Number(this.#database.prepare("SELECT coalesce(max(at), 0) AS at FROM last").get()?.at);
    for (const row of this.#database.prepare("SELECT * FROM certificates ORDER BY revoked_at").iterate()) {
      const record = recordOf(row);
      this.#certificates.set(record.serial, record);
    }
    for (const { kind, value, since, reason } of this.#database.prepare("SELECT * FROM blocks").iterate()) {
      const block: Block = {
        kind: kind === "key" ? "key" : "identity",
        value: String(value),
        since: Number(since),
        reason: String(reason) as RevocationReason,
      };
      this.#blocks.set(`${block.kind} ${block.value}`, block);
    }
  }

  /** Revoked certificates that are valid otherwise at `now` (milliseconds), the oldest revocation first. */
  certificates(now: number): readonly RevokedRecord[] {
    return [...this.#certificates.values()].filter(({ notAfter }) => notAfter >= now);
  }

  /** The same as long as they may be good by the clocks of others, which refuse them for their age soon after. */
  listed(now: number): readonly RevokedRecord[] {
    return this.certificates(now - CLOCKS_DIFFER_MS);
  }

  /** What proxies need to know of it at `now`. */
  forProxies(now: number): { readonly certificates: readonly string[]; readonly identities: ReadonlySet<string>; readonly last?: number } {
    const identities = this.blocks.filter(({ kind }) => kind === "identity").map(({ value }) => value);
    const last = this.#last === 0 ? {} : { last: this.#last };
    return { certificates: this.listed(now).map(({ sha256 }) => sha256), identities: new Set(identities), ...last };
  }

  get blocks(): readonly Block[] {
    return [...this.#blocks.values()];
  }

  /** Whether the certificate with this serial number (lower-case hex) was revoked. */
  isRevoked(serial: string): boolean {
    return this.#certificates.has(serial);
  }

  /** What is known of a revoked certificate by its serial number (lower-case hex). */
  find(serial: string): RevokedRecord | undefined {
    return this.#certificates.get(serial);
  }

  /** Throws `permission-denied` for an identity or a key (its key identifier in hex) that is blocked. */
  checkIssuance(identity: string, keyId: string): void {
    if (this.#blocks.has(`identity ${identity}`)) {
      throw new AppError("permission-denied", `the identity \`${identity}\` is revoked`, { help: "an operator can give it free again" });
    }
    if (this.#blocks.has(`key ${keyId}`)) throw new AppError("permission-denied", "the key is revoked", { help: "make a new key" });
  }

  /** Calls `listener` after each change. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /**
   * Revokes certificates, and with `block` all that its identity or key would get. What is revoked already keeps its time and reason. On the
   * disk when it returns; answers the certificates that are revoked now and were not before. Throws `unavailable` when it cannot be written.
   */
  revoke(
    certificates: readonly CertificateRecord[],
    reason: RevocationReason,
    now: number,
    block?: Pick<Block, "kind" | "value">,
  ): readonly RevokedRecord[] {
    const added = certificates
      .filter(({ serial }) => !this.#certificates.has(serial))
      .map(
        ({ serial, identity, sha256 = "", notAfter }): RevokedRecord => ({ serial, identity, sha256, notAfter, revokedAt: now, reason }),
      );
    // Never the same twice: another revocation is told apart from the one before.
    const last = added.length === 0 ? this.#last : Math.max(now, this.#last + 1);
    const newBlock = block === undefined || this.#blocks.has(`${block.kind} ${block.value}`) ? undefined : { ...block, since: now, reason };
    const expired = this.#expired(now);
    this.#write(() => {
      this.#forget(expired);
      for (const record of added) this.#insert(record);
      if (added.length > 0) this.#insertLast(last);
      if (newBlock !== undefined) this.#insertBlock(newBlock);
    });
    this.#last = last;
    for (const { serial } of expired) this.#certificates.delete(serial);
    for (const record of added) this.#certificates.set(record.serial, record);
    if (newBlock !== undefined) this.#blocks.set(`${newBlock.kind} ${newBlock.value}`, newBlock);
    this.#changed();
    return added;
  }

  /** Takes in what another replica revoked, with its own times and reasons; what is known stays as it is. Throws `unavailable`. */
  adopt(certificates: readonly RevokedRecord[], blocks: readonly Block[], now: number): void {
    const added = certificates.filter(({ serial }) => !this.#certificates.has(serial));
    const newBlocks = blocks.filter(({ kind, value }) => !this.#blocks.has(`${kind} ${value}`));
    if (added.length === 0 && newBlocks.length === 0) return;
    const last = added.length === 0 ? this.#last : Math.max(this.#last + 1, ...added.map(({ revokedAt }) => revokedAt));
    const expired = this.#expired(now);
    this.#write(() => {
      this.#forget(expired);
      for (const record of added) this.#insert(record);
      if (added.length > 0) this.#insertLast(last);
      for (const block of newBlocks) this.#insertBlock(block);
    });
    this.#last = last;
    for (const { serial } of expired) this.#certificates.delete(serial);
    for (const record of added) this.#certificates.set(record.serial, record);
    for (const block of newBlocks) this.#blocks.set(`${block.kind} ${block.value}`, block);
    this.#changed();
  }

  #expired(now: number): readonly RevokedRecord[] {
    return [...this.#certificates.values()].filter(({ notAfter }) => notAfter < now - FORGET_AFTER_MS);
  }

  #forget(expired: readonly RevokedRecord[]): void {
    const forget = this.#database.prepare("DELETE FROM certificates WHERE serial = ?");
    for (const { serial } of expired) forget.run(serial);
  }

  #insert({ serial, identity, sha256, notAfter, revokedAt, reason }: RevokedRecord): void {
    this.#database.prepare("INSERT INTO certificates VALUES (?, ?, ?, ?, ?, ?)").run(serial, identity, sha256, notAfter, revokedAt, reason);
  }

  #insertLast(last: number): void {
    this.#database.exec("DELETE FROM last");
    this.#database.prepare("INSERT INTO last VALUES (?)").run(last);
  }

  #insertBlock({ kind, value, since, reason }: Block): void {
    if (kind === "identity") this.#database.prepare("DELETE FROM freed WHERE identity = ?").run(value);
    this.#database.prepare("INSERT INTO blocks VALUES (?, ?, ?, ?)").run(kind, value, since, reason);
  }

  /** An identity may have certificates again; those that were revoked stay so. Answers whether it was blocked. Throws `unavailable`. */
  unblock(identity: string): boolean {
    if (!this.#blocks.has(`identity ${identity}`)) return false;
    this.#write(() => {
      this.#database.prepare("DELETE FROM blocks WHERE kind = 'identity' AND value = ?").run(identity);
      this.#database.prepare("INSERT OR REPLACE INTO freed VALUES (?)").run(identity);
    });
    this.#blocks.delete(`identity ${identity}`);
    this.#changed();
    return true;
  }

  /** Whether it was given free here, and is not blocked again: a block that is missing for any other reason was lost. */
  wasFreed(identity: string): boolean {
    return this.#database.prepare("SELECT 1 FROM freed WHERE identity = ?").get(identity) !== undefined;
  }

  /** Numbers of lists go on after `number` at least: those that were given are not known any more. Throws `unavailable`. */
  skipListNumbers(number: number): void {
    this.#write(() => this.#database.prepare("INSERT OR IGNORE INTO lists VALUES (?)").run(number));
  }

  /** A number that no list has had. Throws `unavailable`. */
  nextListNumber(): number {
    let number = 0;
    this.#write(() => {
      number = Number(this.#database.prepare("SELECT coalesce(max(number), 0) + 1 AS next FROM lists").get()?.next);
      this.#database.exec("DELETE FROM lists");
      this.#database.prepare("INSERT INTO lists VALUES (?)").run(number);
    });
    return number;
  }

  /** Keeps the newest list of an issuer, and those of the last others. Throws `unavailable`. */
  keepList({ authority, pem, notAfter }: KeptList): void {
    this.#write(() => {
      const { next } = this.#database.prepare("SELECT coalesce(max(kept), 0) + 1 AS next FROM kept_lists").get() ?? {};
      this.#database.prepare("INSERT OR REPLACE INTO kept_lists VALUES (?, ?, ?, ?)").run(authority, pem, notAfter, Number(next));
      this.#database
        .prepare("DELETE FROM kept_lists WHERE authority NOT IN (SELECT authority FROM kept_lists ORDER BY kept DESC LIMIT ?)")
        .run(MAX_KEPT_LISTS);
    });
  }

  /** Those whose issuers' certificates have not expired at `now`. */
  keptLists(now: number): readonly KeptList[] {
    const rows = this.#database.prepare("SELECT authority, pem, not_after FROM kept_lists WHERE not_after > ?").all(now);
    return rows.map(({ authority, pem, not_after: notAfter }) => ({
      authority: String(authority),
      pem: String(pem),
      notAfter: Number(notAfter),
    }));
  }

  close(): void {
    this.#database.close();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  #write(run: () => void): void {
    try {
      this.#database.exec("BEGIN");
      run();
      this.#database.exec("COMMIT");
    } catch (cause) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw new AppError("unavailable", "the record of revocations cannot be written: nothing was revoked", {
        help: "look at the disk of the state folder",
        cause,
      });
    }
  }
}
