/** Entries of the log that are of no certificate, kept by the ledger until and after the log has them. */
import type { DatabaseSync } from "node:sqlite";
import { type BlockNote, decodeEntry, encodeEntry, isNote, type Note, type RevokedNote } from "./log/entry.ts";

export interface LeafNote {
  readonly leaf: number;
  readonly note: Note;
}

function noteOf(text: unknown): readonly Note[] {
  const entry = decodeEntry(Buffer.from(String(text)));
  return isNote(entry) ? [entry] : [];
}

/** Those from the leaf `first` on, in their order. */
export function notesFrom(database: DatabaseSync, first: number): readonly LeafNote[] {
  const rows = database.prepare("SELECT leaf, entry FROM notes WHERE leaf >= ? ORDER BY leaf").all(first);
  return rows.flatMap(({ leaf, entry }) => noteOf(entry).map((note) => ({ leaf: Number(leaf), note })));
}

/** The text of each, by its leaf, as the log must have it. An older ledger has none. */
export function noteTexts(database: DatabaseSync): ReadonlyMap<number, string> {
  if (database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'notes'").get() === undefined) return new Map();
  return new Map(
    database
      .prepare("SELECT leaf, entry FROM notes")
      .all()
      .map(({ leaf, entry }) => [Number(leaf), String(entry)]),
  );
}

export class LedgerNotes {
  readonly #database: DatabaseSync;
  readonly #revoked = new Map<string, RevokedNote>();
  /** What was noted last of each, by `KIND VALUE`. */
  readonly #blocked = new Map<string, BlockNote>();
  #lastJwtSvid = 0;
  #nextLeaf = 0;

  constructor(database: DatabaseSync) {
    this.#database = database;
    for (const { leaf, note } of notesFrom(database, 0)) this.#learn(leaf, note);
  }

  /** After the last of them; 0 where there is none. */
  get nextLeaf(): number {
    return this.#nextLeaf;
  }

  /** Of every certificate that was ever revoked, by its serial number. */
  get revoked(): ReadonlyMap<string, RevokedNote> {
    return this.#revoked;
  }

  /** The number of the last JWT-SVID that a note is of; 0 where there is none. */
  get lastJwtSvid(): number {
    return this.#lastJwtSvid;
  }

  isBlocked(kind: BlockNote["kind"], value: string): boolean {
    return this.#blocked.get(`${kind} ${value}`)?.type === "blocked";
  }

  /** What was noted to be blocked, and not to be free again. */
  get blocked(): readonly BlockNote[] {
    return [...this.#blocked.values()].filter(({ type }) => type === "blocked");
  }

  add(leaf: number, note: Note): void {
    this.#database.prepare("INSERT INTO notes (leaf, entry) VALUES (?, ?)").run(leaf, Buffer.from(encodeEntry(note)).toString());
    this.#learn(leaf, note);
  }

  #learn(leaf: number, note: Note): void {
    this.#nextLeaf = Math.max(this.#nextLeaf, leaf + 1);
    if (note.type === "revoked") this.#revoked.set(note.serial, note);
    else if (note.type === "jwt-svids") this.#lastJwtSvid = Math.max(this.#lastJwtSvid, note.last);
    else this.#blocked.set(`${note.kind} ${note.value}`, note);
  }
}
