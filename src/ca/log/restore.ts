/** What a log's files say it is: the right edge of its tree, and what its journal has beyond the tiles. */
import { AppError } from "../../core/error.ts";
import { type JournalRecord, readJournal } from "./journal.ts";
import { type Checkpoint, type NoteVerifier, openCheckpoint } from "./note.ts";
import { LogReader } from "./reader.ts";
import { hashesAt, TILE_WIDTH } from "./tile-paths.ts";
import { type TileFile, Tree } from "./tree.ts";

/** The right edge of a tree as its files have it. */
export function restoreTree(folder: string, size: number): Tree {
  const reader = new LogReader(folder, size);
  const levels: (readonly Uint8Array[])[] = [];
  for (let level = 0; hashesAt(level, size) > 0; level++) {
    const count = hashesAt(level, size);
    levels.push(count % TILE_WIDTH === 0 ? [] : reader.tile(level, Math.floor(count / TILE_WIDTH)));
  }
  return Tree.restore(size, levels, size % TILE_WIDTH === 0 ? [] : reader.bundle(Math.floor(size / TILE_WIDTH)));
}

/** A record of the journal, and what its checkpoint says. */
export interface Replayed extends Checkpoint {
  readonly entries: readonly Uint8Array[];
}

/**
 * The records of a journal that follow a tree of `size` leaves, in order. Throws `unauthenticated` for one that the log's key has not signed, and
 * `invalid-configuration` where they do not follow: tiles or journal were set back.
 */
export function recordsBeyond(size: number, files: readonly (readonly JournalRecord[])[], verifier: NoteVerifier): readonly Replayed[] {
  const [first = [], second = []] = files.map((records) =>
    records.map(({ note, entries }): Replayed => ({ ...openCheckpoint(note, verifier), entries })),
  );
  const inOrder = (first[0]?.size ?? 0) <= (second[0]?.size ?? 0) ? [...first, ...second] : [...second, ...first];
  const beyond = inOrder.filter((record) => record.size > size);
  let next = size;
  for (const record of beyond) {
    const from = record.size - record.entries.length;
    if (from !== next)
      throw new AppError(
        "invalid-configuration",
        `the journal goes on from ${from} certificates, and the log has ${next}: it was set back`,
      );
    next = record.size;
  }
  return beyond;
}

/** Adds what the journal has to the tree that its tiles are; answers the files that are full with it. Throws as `recordsBeyond`, and for entries that are not those of their checkpoint. */
export function replayJournal(tree: Tree, folder: string, verifier: NoteVerifier): readonly TileFile[] {
  const full: TileFile[] = [];
  for (const { entries, root } of recordsBeyond(tree.size, readJournal(folder), verifier)) {
    for (const entry of entries) full.push(...tree.add(entry));
    if (Buffer.compare(tree.root(), root) !== 0)
      throw new AppError("invalid-configuration", "the entries of the journal are not those of its checkpoint");
  }
  return full;
}
