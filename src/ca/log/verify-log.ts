/**
 * Checks a log with nothing but its folder, its verifier and, where there is one, the ledger: every tile is made anew from the entries, every
 * checkpoint compared with the tree of its size, every row with its entry; so is what the journal has beyond the tiles. One bundle is in memory at a time.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../core/error.ts";
import type { CertificateRecord } from "../ledger-database.ts";
import { type CertificateEntry, decodeEntry, isNote, type LogEntry } from "./entry.ts";
import { readJournal } from "./journal.ts";
import { type Checkpoint, type NoteVerifier, openCheckpoint } from "./note.ts";
import { NoteCheck, type NotesToVerify } from "./note-check.ts";
import { flaw, LogReader, readLogFile } from "./reader.ts";
import { type Replayed, recordsBeyond } from "./restore.ts";
import { ARCHIVE_FOLDER, CHECKPOINT_FILE } from "./transparency-log.ts";
import { type TileFile, Tree } from "./tree.ts";

/** A signed note, and where it comes from. */
export interface KeptCheckpoint {
  readonly where: string;
  readonly note: string;
}

export interface LogToVerify extends NotesToVerify {
  readonly folder: string;
  readonly verifier: NoteVerifier;
  /** Kept elsewhere: what tells that the whole folder was set back. */
  readonly kept: readonly KeptCheckpoint[];
  /** The ledger's rows with a leaf, in their order; undefined to leave the ledger out. */
  readonly rows: Iterable<CertificateRecord> | undefined;
  /** Rows recorded before then may have been forgotten; milliseconds. */
  readonly retainedSince: number;
}

export interface LogReport {
  readonly size: number;
  /** Of certificates; the others say what was revoked, and which JWT-SVIDs there were. */
  readonly certificates: number;
  readonly root: string;
  readonly checkpoints: number;
  /** Rows beyond the log, which the next start adds: they have not been handed out. */
  readonly waiting: number;
  /** What is wrong, and where; the first ones. */
  readonly problems: readonly { readonly where: string; readonly message: string }[];
}

const MAX_PROBLEMS = 100;

class Problems {
  readonly found: { readonly where: string; readonly message: string }[] = [];

  add(where: string, message: string): void {
    if (this.found.length < MAX_PROBLEMS) this.found.push({ where, message });
  }

  /** What `run` answers; what it throws is a problem. */
  try<T>(where: string, run: () => T): T | undefined {
    try {
      return run();
    } catch (thrown) {
      const { message, where: place } = AppError.from(thrown);
      this.add(place ?? where, message);
      return undefined;
    }
  }
}

interface Claim extends Checkpoint {
  readonly where: string;
}

/** The checkpoints to be compared, by size; those that are not signed are problems. */
function claimsOf({ folder, verifier, kept }: LogToVerify, problems: Problems): readonly Claim[] {
  const archive = join(folder, ARCHIVE_FOLDER);
  const archived = (existsSync(archive) ? readdirSync(archive) : []).map((name) => ({
    where: `${ARCHIVE_FOLDER}/${name}`,
    note: readFileSync(join(archive, name), "utf8"),
  }));
  const claims = [...archived, ...kept].flatMap(({ where, note }): readonly Claim[] => {
    const checkpoint = problems.try(where, () => openCheckpoint(note, verifier));
    return checkpoint === undefined ? [] : [{ where, ...checkpoint }];
  });
  return claims.sort((a, b) => a.size - b.size);
}

function compareFile(folder: string, { path, bytes }: TileFile, problems: Problems): void {
  problems.try(path, () => {
    const found = readLogFile(folder, path);
    const length = Math.min(found.length, bytes.length);
    let at = 0;
    while (at < length && found[at] === bytes[at]) at += 1;
    if (at < Math.max(found.length, bytes.length)) throw flaw(path, `the file is not what the entries give, from byte ${at} on`);
  });
}

const FIELDS = [
  "serial",
  "identity",
  "caller",
  "notBefore",
  "notAfter",
  "recordedAt",
  "sha256",
] as const satisfies readonly (keyof CertificateEntry)[];

/** Walks the ledger's rows beside the entries. */
class RowCheck {
  readonly #rows: Iterator<CertificateRecord>;
  readonly #retainedSince: number;
  readonly #problems: Problems;
  #next: CertificateRecord | undefined;

  constructor(rows: Iterable<CertificateRecord>, retainedSince: number, problems: Problems) {
    this.#rows = rows[Symbol.iterator]();
    this.#retainedSince = retainedSince;
    this.#problems = problems;
    this.#advance();
  }

  check(leaf: number, entry: CertificateEntry): void {
    const where = `ledger row of leaf ${leaf}`;
    while (this.#next !== undefined && (this.#next.leaf ?? 0) < leaf) {
      this.#problems.add(`ledger row of leaf ${this.#next.leaf}`, `the row of serial ${this.#next.serial} is out of order`);
      this.#advance();
    }
    const row = this.#next;
    if (row?.leaf !== leaf) {
      if (entry.recordedAt >= this.#retainedSince)
        this.#problems.add(where, `the row of serial ${entry.serial} is missing from the ledger`);
      return;
    }
    for (const field of FIELDS)
      if (row[field] !== entry[field])
        this.#problems.add(
          where,
          `\`${field}\` of serial ${entry.serial} is \`${row[field]}\` in the ledger and \`${entry[field]}\` in the log`,
        );
    if (row.state !== "issued")
      this.#problems.add(where, `serial ${entry.serial} is \`${row.state}\` in the ledger, and the log says that it was issued`);
    this.#advance();
  }

  /** Rows that follow the last entry. */
  rest(): number {
    let count = 0;
    for (; this.#next !== undefined; this.#advance()) count += 1;
    return count;
  }

  #advance(): void {
    const { done, value } = this.#rows.next();
    this.#next = done === true ? undefined : value;
  }
}

/** A claim about the tree of this size. */
function compareClaims(claims: readonly Claim[], tree: Tree, problems: Problems): void {
  for (const { where, root } of claims)
    if (Buffer.compare(root, tree.root()) !== 0)
      problems.add(where, `the checkpoint of size ${tree.size} has another root than the entries give`);
}

/** The entries of tiles and journal, each compared with what else says something of it; the files of the tiles as well. */
class Walk {
  readonly tree = new Tree();
  readonly #problems: Problems;
  readonly #claims: ReadonlyMap<number, readonly Claim[]>;
  readonly #rows: RowCheck | undefined;
  readonly #notes: NoteCheck;
  certificates = 0;

  constructor(claims: readonly Claim[], rows: RowCheck | undefined, notes: NoteCheck, problems: Problems) {
    this.#problems = problems;
    this.#notes = notes;
    this.#claims = Map.groupBy(claims, ({ size }) => size);
    this.#rows = rows;
    this.#compareClaims();
  }

  tiles(folder: string, size: number): void {
    for (const bytes of new LogReader(folder, size).entries())
      for (const file of this.#add(bytes)) compareFile(folder, file, this.#problems);
    for (const file of this.tree.edge()) compareFile(folder, file, this.#problems);
  }

  journal(records: readonly Replayed[]): void {
    for (const bytes of records.flatMap(({ entries }) => entries)) this.#add(bytes);
  }

  /** Answers the files that are full with the entry. */
  #add(bytes: Uint8Array): readonly TileFile[] {
    const leaf = this.tree.size;
    const full = this.tree.add(bytes);
    this.#compareClaims();
    const entry = this.#problems.try(`entry ${leaf}`, () => decodeEntry(bytes));
    if (entry !== undefined) this.#compareEntry(leaf, entry);
    return full;
  }

  #compareEntry(leaf: number, entry: LogEntry): void {
    if (isNote(entry)) {
      this.#notes.check(leaf, entry);
      return;
    }
    this.certificates += 1;
    this.#rows?.check(leaf, entry);
  }

  #compareClaims(): void {
    compareClaims(this.#claims.get(this.tree.size) ?? [], this.tree, this.#problems);
  }
}

/** Everything that is wrong with a log, as far as its own files, kept checkpoints and the ledger can tell. Throws only where there is no checkpoint to begin with. */
export function verifyLog(input: LogToVerify): LogReport {
  const { folder, verifier } = input;
  const problems = new Problems();
  // Before the checkpoint: a control plane that runs moves what is in the one into the tiles of the other.
  const journal = readJournal(folder);
  const newest = openCheckpoint(Buffer.from(readLogFile(folder, CHECKPOINT_FILE)).toString("utf8"), verifier);
  const beyond = problems.try("journal", () => recordsBeyond(newest.size, journal, verifier)) ?? [];
  const last = beyond.at(-1) ?? newest;
  const own = [{ where: CHECKPOINT_FILE, ...newest }, ...beyond.map((record) => ({ where: "journal", ...record }))];
  const claims = [...claimsOf(input, problems), ...own];
  for (const { where, size } of claims)
    if (size > last.size) problems.add(where, `the log was set back: this checkpoint has ${size} entries, and the log says ${last.size}`);
  const rows = input.rows === undefined ? undefined : new RowCheck(input.rows, input.retainedSince, problems);
  const notes = new NoteCheck(input, (where, message) => problems.add(where, message));
  const walk = new Walk(claims, rows, notes, problems);
  problems.try(folder, () => {
    walk.tiles(folder, newest.size);
    walk.journal(beyond);
  });
  const waiting = notes.finish(walk.tree.size);
  return {
    size: last.size,
    certificates: walk.certificates,
    root: Buffer.from(last.root).toString("base64"),
    checkpoints: claims.length,
    waiting: walk.tree.size === last.size ? (rows?.rest() ?? 0) + waiting : 0,
    problems: problems.found,
  };
}
