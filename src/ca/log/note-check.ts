/** Entries of the log that are of no certificate, held against the ledger: what was revoked, and the rows of JWT-SVIDs. */
import { encodeEntry, type JwtSvidsNote, type Note } from "./entry.ts";

export interface NotesToVerify {
  /** What the ledger has of entries that are of no certificate, by leaf; undefined to leave it out. */
  readonly notes?: ReadonlyMap<number, string>;
  /** How many rows of JWT-SVIDs there are from one number to another, and their root in hex; undefined to leave them out. */
  readonly jwtSvids?: (first: number, last: number) => { readonly count: number; readonly sha256: string };
  /** Rows of JWT-SVIDs that are kept, beside the newest. */
  readonly keptJwtSvids?: number;
}

/** Compares the other entries with what the ledger has of them, when all have been read: only the newest tells which rows of JWT-SVIDs may be gone. */
export class NoteCheck {
  readonly #input: NotesToVerify;
  readonly #problem: (where: string, message: string) => void;
  readonly #seals: { readonly leaf: number; readonly note: JwtSvidsNote }[] = [];
  readonly #seen = new Set<number>();

  constructor(input: NotesToVerify, problem: (where: string, message: string) => void) {
    this.#input = input;
    this.#problem = problem;
  }

  check(leaf: number, note: Note): void {
    if (note.type === "jwt-svids") this.#seals.push({ leaf, note });
    this.#seen.add(leaf);
    const { notes } = this.#input;
    if (notes === undefined || notes.get(leaf) === Buffer.from(encodeEntry(note)).toString()) return;
    const what = notes.has(leaf) ? "is another in the ledger" : "is missing from the ledger";
    this.#problem(`ledger note of leaf ${leaf}`, `what the log says (\`${note.type}\`) ${what}`);
  }

  /** How many of the ledger's the log lacks, which the next start adds; those below `size` are problems. */
  finish(size: number): number {
    const extra = [...(this.#input.notes?.keys() ?? [])].filter((leaf) => !this.#seen.has(leaf));
    for (const leaf of extra) if (leaf < size) this.#problem(`ledger note of leaf ${leaf}`, "the log has another entry there");
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
      this.#problem(`entry ${leaf}`, `the rows of the JWT-SVIDs ${first} to ${last} are not those that were sealed`);
    }
  }
}
