/**
 * Checks a log with nothing but its folder, its verifier and, where there is one, the ledger: every tile is made anew from the entries, every
 * checkpoint compared with the tree of its size, every row with its entry. One bundle is in memory at a time.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../core/error.ts";
import type { CertificateRecord } from "../ledger-database.ts";
import { type CertificateEntry, decodeEntry, encodeEntry, isNote, type JwtSvidsNote, type Note } from "./entry.ts";
import { type Checkpoint, type NoteVerifier, openCheckpoint } from "./note.ts";
import { flaw, LogReader, readLogFile } from "./reader.ts";
import { ARCHIVE_FOLDER, CHECKPOINT_FILE } from "./transparency-log.ts";
import { type TileFile, Tree } from "./tree.ts";

/** A signed note, and where it comes from. */
export interface KeptCheckpoint {
  readonly where: string;
  readonly note: string;
}

export interface LogToVerify {
  readonly folder: string;
  readonly verifier: NoteVerifier;
  /** Kept elsewhere: what tells that the whole folder was set back. */
  readonly kept: readonly KeptCheckpoint[];
  /** The ledger's rows with a leaf, in their order; undefined to leave the ledger out. */
  readonly rows: Iterable<CertificateRecord> | undefined;
  /** Rows recorded before then may have been forgotten; milliseconds. */
  readonly retainedSince: number;
  /** What the ledger has of entries that are of no certificate, by leaf; undefined to leave it out. */
  readonly notes?: ReadonlyMap<number, string>;
  /** How many rows of JWT-SVIDs there are from one number to another, and their root in hex; undefined to leave them out. */
  readonly jwtSvids?: (first: number, last: number) => { readonly count: number; readonly sha256: string };
  /** Rows of JWT-SVIDs that are kept, beside the newest. */
  readonly keptJwtSvids?: number;
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

/** Compares the other entries with what the ledger has of them, when all have been read: only the newest tells which rows of JWT-SVIDs may be gone. */
class NoteCheck {
  readonly #input: LogToVerify;
  readonly #problems: Problems;
  readonly #seals: { readonly leaf: number; readonly note: JwtSvidsNote }[] = [];
  readonly #seen = new Set<number>();

  constructor(input: LogToVerify, problems: Problems) {
    this.#input = input;
    this.#problems = problems;
  }

  check(leaf: number, note: Note): void {
    if (note.type === "jwt-svids") this.#seals.push({ leaf, note });
    this.#seen.add(leaf);
    const { notes } = this.#input;
    if (notes === undefined || notes.get(leaf) === Buffer.from(encodeEntry(note)).toString()) return;
    const what = notes.has(leaf) ? "is another in the ledger" : "is missing from the ledger";
    this.#problems.add(`ledger note of leaf ${leaf}`, `what the log says (\`${note.type}\`) ${what}`);
  }

  /** How many of the ledger's the log lacks, which the next start adds; those below `size` are problems. */
  finish(size: number): number {
    const extra = [...(this.#input.notes?.keys() ?? [])].filter((leaf) => !this.#seen.has(leaf));
    for (const leaf of extra) if (leaf < size) this.#problems.add(`ledger note of leaf ${leaf}`, "the log has another entry there");
    this.#checkSeals();
    return extra.filter((leaf) => leaf >= size).length;
  }

  #checkSeals(): void {
    const { jwtSvids, keptJwtSvids = 0 } = this.#input;
    const forgotten = (this.#seals.at(-1)?.note.last ?? 0) - keptJwtSvids;
    for (const { leaf, note } of jwtSvids === undefined ? [] : this.#seals) {
      const { first, last, sha256 } = note;
      const rows = jwtSvids?.(first, last);
      if (rows === undefined || rows.sha256 === sha256 || (first <= forgotten && rows.count < last - first + 1)) continue;
      this.#problems.add(`entry ${leaf}`, `the rows of the JWT-SVIDs ${first} to ${last} are not those that were sealed`);
    }
  }
}

/** A claim about the tree of this size. */
function compareClaims(claims: readonly Claim[], tree: Tree, problems: Problems): void {
  for (const { where, root } of claims)
    if (Buffer.compare(root, tree.root()) !== 0)
      problems.add(where, `the checkpoint of size ${tree.size} has another root than the entries give`);
}

/** Everything that is wrong with a log, as far as its own files, kept checkpoints and the ledger can tell. Throws only where there is no checkpoint to begin with. */
export function verifyLog(input: LogToVerify): LogReport {
  const { folder, verifier } = input;
  const problems = new Problems();
  const newest = openCheckpoint(Buffer.from(readLogFile(folder, CHECKPOINT_FILE)).toString("utf8"), verifier);
  const claims = [...claimsOf(input, problems), { where: CHECKPOINT_FILE, ...newest }];
  const bySize = Map.groupBy(claims, ({ size }) => size);
  for (const { where, size } of claims)
    if (size > newest.size)
      problems.add(where, `the log was set back: this checkpoint has ${size} entries, and the log says ${newest.size}`);
  const rows = input.rows === undefined ? undefined : new RowCheck(input.rows, input.retainedSince, problems);
  const notes = new NoteCheck(input, problems);
  let certificates = 0;
  const tree = new Tree();
  compareClaims(bySize.get(0) ?? [], tree, problems);
  problems.try(folder, () => {
    for (const bytes of new LogReader(folder, newest.size).entries()) {
      const leaf = tree.size;
      for (const file of tree.add(bytes)) compareFile(folder, file, problems);
      compareClaims(bySize.get(tree.size) ?? [], tree, problems);
      const entry = problems.try(`entry ${leaf}`, () => decodeEntry(bytes));
      if (entry === undefined) continue;
      if (isNote(entry)) notes.check(leaf, entry);
      else {
        certificates += 1;
        rows?.check(leaf, entry);
      }
    }
    for (const file of tree.edge()) compareFile(folder, file, problems);
  });
  const complete = tree.size === newest.size;
  const waiting = notes.finish(tree.size);
  return {
    size: newest.size,
    certificates,
    root: Buffer.from(newest.root).toString("base64"),
    checkpoints: claims.length,
    waiting: complete ? (rows?.rest() ?? 0) + waiting : 0,
    problems: problems.found,
  };
}
