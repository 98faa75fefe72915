/**
 * What was added to the log and is not in its tiles yet, so that one write to the disk is enough before a certificate is handed out. Two files: one is
 * appended to, while the tiles of the other's entries are written. Both are reserved beforehand and overwritten, since a file that grows costs the disk two writes.
 */
import { hash } from "node:crypto";
import { closeSync, constants, existsSync, fdatasync, fstatSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { entriesOf, withLength } from "./tree.ts";

const fdatasyncLater = promisify(fdatasync);

const FILES = ["journal.0", "journal.1"] as const;
const RESERVED_BYTES = 512 * 1024;
const LENGTH_BYTES = 4;
const DIGEST_BYTES = 16;

/** Entries that were added at one time, and the signed checkpoint of the tree with them. */
export interface JournalRecord {
  readonly note: string;
  readonly entries: readonly Uint8Array[];
}

function digestOf(body: Uint8Array): Buffer {
  return hash("sha256", body, "buffer").subarray(0, DIGEST_BYTES);
}

/** Length, digest, and the note and the entries, each after its own length. */
function encodeRecord({ note, entries }: JournalRecord): Buffer {
  const body = Buffer.concat([Buffer.from(note), ...entries].map(withLength));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, digestOf(body), body]);
}

/** The records from the beginning of a file to the first that is not whole: it was never counted on. */
function recordsOf(bytes: Buffer): readonly JournalRecord[] {
  const records: JournalRecord[] = [];
  for (let at = 0; at + LENGTH_BYTES + DIGEST_BYTES < bytes.length; ) {
    const begin = at + LENGTH_BYTES + DIGEST_BYTES;
    const end = begin + bytes.readUInt32BE(at);
    const body = bytes.subarray(begin, end);
    if (end > bytes.length || !digestOf(body).equals(bytes.subarray(at + LENGTH_BYTES, begin))) break;
    const [note, ...entries] = entriesOf(body) ?? [];
    if (note === undefined) break;
    records.push({ note: Buffer.from(note).toString("utf8"), entries });
    at = end;
  }
  return records;
}

/** The records of both files, each in its order; the older file's need not be the first. */
export function readJournal(folder: string): readonly (readonly JournalRecord[])[] {
  const paths = FILES.map((name) => join(folder, name));
  return paths.map((path) => (existsSync(path) ? recordsOf(readFileSync(path)) : []));
}

/** One file: where the next record goes. */
class JournalFile {
  readonly #file: number;
  #end = 0;

  constructor(path: string) {
    this.#file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    const { size } = fstatSync(this.#file);
    if (size < RESERVED_BYTES) this.#write(Buffer.alloc(RESERVED_BYTES - size), size);
    fsyncSync(this.#file);
  }

  get isEmpty(): boolean {
    return this.#end === 0;
  }

  async append(bytes: Uint8Array): Promise<void> {
    this.#write(bytes, this.#end);
    await fdatasyncLater(this.#file);
    this.#end += bytes.length;
  }

  /** All of it: one call may take a part. */
  #write(bytes: Uint8Array, begin: number): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at, bytes.length - at, begin + at);
  }

  /** What it has is not needed any more; the next record is written over it. */
  clear(): void {
    this.#end = 0;
  }

  close(): void {
    closeSync(this.#file);
  }
}

export class Journal {
  readonly #files: readonly [JournalFile, JournalFile];
  #active: 0 | 1 = 0;
  #closed = false;

  /** Opens both files, made where they are not there. What they have must be in tiles: it is written over. */
  constructor(folder: string) {
    this.#files = [new JournalFile(join(folder, FILES[0])), new JournalFile(join(folder, FILES[1]))];
  }

  /** Resolves when the disk has the record. One at a time. */
  append(record: JournalRecord): Promise<void> {
    return this.#files[this.#active].append(encodeRecord(record));
  }

  /** Appends to the other file from now on, unless what that one has is still needed. Not during `append`. */
  turn(): void {
    const other = this.#active === 0 ? 1 : 0;
    if (this.#files[other].isEmpty) this.#active = other;
  }

  /** The tiles have what the file has that is not appended to. */
  clearOther(): void {
    this.#files[this.#active === 0 ? 1 : 0].clear();
  }

  /** The tiles have everything. */
  clear(): void {
    for (const file of this.#files) file.clear();
  }

  /** Once. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const file of this.#files) file.close();
  }
}
