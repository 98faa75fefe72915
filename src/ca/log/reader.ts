/** Reads a log's files, and proves that an entry is in the tree (RFC 6962 §2.1.1). */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../../core/error.ts";
import { HASH_BYTES, nodeHash, perfectRoot, splitPoint } from "./merkle.ts";
import { bundlePath, hashesAt, TILE_WIDTH, tilePath, widthOf } from "./tile-paths.ts";
import { entriesOf } from "./tree.ts";

/** 256 entries of the largest size. */
const MAX_FILE = 256 * (2 + 0xffff);

/** A flaw of a log, with the file. */
export function flaw(path: string, message: string): AppError {
  return new AppError("invalid-configuration", message, { where: path });
}

/** A file of the log. Throws `invalid-configuration` when it is missing or too large. */
export function readLogFile(folder: string, path: string): Uint8Array {
  const stats = statSync(join(folder, path), { throwIfNoEntry: false });
  if (stats === undefined) throw flaw(path, "the file is missing from the log");
  if (!stats.isFile() || stats.size > MAX_FILE) throw flaw(path, "the file is none of a log");
  return readFileSync(join(folder, path));
}

export class LogReader {
  readonly #folder: string;
  readonly size: number;

  /** Reads the tree of `size` leaves in this folder. */
  constructor(folder: string, size: number) {
    this.#folder = folder;
    this.size = size;
  }

  /** The hashes of one tile. Throws `invalid-configuration`. */
  tile(level: number, index: number): readonly Uint8Array[] {
    const width = widthOf(index, hashesAt(level, this.size));
    const path = tilePath(level, index, width);
    const bytes = readLogFile(this.#folder, path);
    if (bytes.length !== width * HASH_BYTES) throw flaw(path, `the tile has ${bytes.length} bytes and not ${width * HASH_BYTES}`);
    return Array.from({ length: width }, (_, i) => bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
  }

  /** The entries of one bundle. Throws `invalid-configuration`. */
  bundle(index: number): readonly Uint8Array[] {
    const width = widthOf(index, this.size);
    const path = bundlePath(index, width);
    const entries = entriesOf(readLogFile(this.#folder, path));
    if (entries === undefined) throw flaw(path, "the bundle is cut off within an entry");
    if (entries.length !== width) throw flaw(path, `the bundle has ${entries.length} entries and not ${width}`);
    return entries;
  }

  /** Every entry from `first` on, in order, a bundle in memory at a time. */
  *entries(first = 0): Generator<Uint8Array> {
    for (let index = Math.floor(first / TILE_WIDTH); index * TILE_WIDTH < this.size; index++)
      yield* this.bundle(index).slice(Math.max(0, first - index * TILE_WIDTH));
  }

  /** The hashes beside the way from the leaf to the root, the lowest first. Throws `invalid-configuration`. */
  inclusionProof(leaf: number): readonly Uint8Array[] {
    const proof: Uint8Array[] = [];
    let [low, high] = [0, this.size];
    while (high - low > 1) {
      const middle = low + splitPoint(high - low);
      if (leaf < middle) {
        proof.unshift(this.#range(middle, high));
        high = middle;
      } else {
        proof.unshift(this.#range(low, middle));
        low = middle;
      }
    }
    return proof;
  }

  /** The hash of the leaves from `low` to before `high`, which begin where a subtree does. */
  #range(low: number, high: number): Uint8Array {
    const count = high - low;
    const middle = low + (count === 1 ? 0 : splitPoint(count));
    const perfect = count === 1 || (middle - low) * 2 === count;
    return perfect ? this.#subtree(low, count) : nodeHash(this.#range(low, middle), this.#range(middle, high));
  }

  /** The hash of a perfect subtree, from the highest tiles that have its parts. */
  #subtree(low: number, count: number): Uint8Array {
    let level = 0;
    while (TILE_WIDTH ** (level + 1) <= count) level += 1;
    const first = low / TILE_WIDTH ** level;
    const index = Math.floor(first / TILE_WIDTH);
    const at = first - index * TILE_WIDTH;
    return perfectRoot(this.tile(level, index).slice(at, at + count / TILE_WIDTH ** level));
  }
}
