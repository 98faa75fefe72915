/** A growing tree: the right edge is in memory, and each tile leaves it when it is full. */
import { EMPTY_ROOT, leafHash, nodeHash } from "./merkle.ts";
import { bundlePath, hashesAt, TILE_WIDTH, tilePath } from "./tile-paths.ts";

/** One file of the log. */
export interface TileFile {
  /** Below the log's folder. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** C2SP tlog-tiles: each entry after its length in two bytes. */
const MAX_ENTRY = 0xffff;

/** An entry as it stands in its bundle: after its length in two bytes; memory of its own, since those of a bundle are kept until it is full. */
export function withLength(entry: Uint8Array): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow(2 + entry.length);
  bytes.writeUInt16BE(entry.length);
  bytes.set(entry, 2);
  return bytes;
}

/** The entries of a bundle; undefined when its bytes are none. */
export function entriesOf(bundle: Uint8Array): readonly Uint8Array[] | undefined {
  const entries: Uint8Array[] = [];
  for (let at = 0; at < bundle.length; ) {
    const length = ((bundle[at] ?? 0) << 8) | (bundle[at + 1] ?? 0);
    if (at + 2 + length > bundle.length) return undefined;
    entries.push(bundle.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return entries;
}

/** The hashes of a tile that is not full yet, with the roots of the perfect subtrees over them, the largest first. */
class Row {
  readonly hashes: Uint8Array[] = [];
  readonly subtrees: Uint8Array[] = [];

  /** Adds a hash; two subtrees of one height become one. */
  push(hash: Uint8Array): void {
    this.hashes.push(hash);
    let root = hash;
    for (let count = this.hashes.length; count % 2 === 0; count /= 2) root = nodeHash(this.subtrees.pop() ?? root, root);
    this.subtrees.push(root);
  }

  copy(): Row {
    const row = new Row();
    row.hashes.push(...this.hashes);
    row.subtrees.push(...this.subtrees);
    return row;
  }
}

export class Tree {
  #size = 0;
  /** Of each level, the hashes of the tile that is not full yet. */
  readonly #edge: Row[] = [];
  /** The entries of the bundle that is not full yet, each after its length. */
  #entries: Uint8Array[] = [];

  get size(): number {
    return this.#size;
  }

  /** The same tree, to be grown apart. */
  copy(): Tree {
    const tree = new Tree();
    tree.#size = this.#size;
    tree.#edge.push(...this.#edge.map((row) => row.copy()));
    tree.#entries = [...this.#entries];
    return tree;
  }

  /** A tree of `size` leaves from the tiles and the bundle of its right edge, as `edgePaths` names them. */
  static restore(size: number, levels: readonly (readonly Uint8Array[])[], entries: readonly Uint8Array[]): Tree {
    const tree = new Tree();
    tree.#size = size;
    for (const hashes of levels) {
      const row = new Row();
      for (const hash of hashes) row.push(hash);
      tree.#edge.push(row);
    }
    tree.#entries = entries.map(withLength);
    return tree;
  }

  /** Adds an entry of at most 65,535 bytes; answers the files that are full with it. */
  add(entry: Uint8Array): readonly TileFile[] {
    if (entry.length > MAX_ENTRY) throw new RangeError("an entry of the log is too long");
    this.#entries.push(withLength(entry));
    const files: TileFile[] = [];
    if (this.#entries.length === TILE_WIDTH) {
      files.push({ path: bundlePath(Math.floor(this.#size / TILE_WIDTH), TILE_WIDTH), bytes: Buffer.concat(this.#entries) });
      this.#entries = [];
    }
    this.#size += 1;
    let carried: Uint8Array | undefined = leafHash(entry);
    for (let level = 0; carried !== undefined; level++) {
      const row: Row = this.#edge[level] ?? new Row();
      this.#edge[level] = row;
      row.push(carried);
      carried = undefined;
      if (row.hashes.length < TILE_WIDTH) break;
      files.push({ path: tilePath(level, hashesAt(level + 1, this.#size) - 1, TILE_WIDTH), bytes: Buffer.concat(row.hashes) });
      carried = row.subtrees[0];
      this.#edge[level] = new Row();
    }
    return files;
  }

  /** The files of the right edge, as they are now. */
  edge(): readonly TileFile[] {
    const files = this.#edge.flatMap(({ hashes }, level): readonly TileFile[] =>
      hashes.length === 0 ? [] : [{ path: tilePath(level, hashesAt(level + 1, this.#size), hashes.length), bytes: Buffer.concat(hashes) }],
    );
    if (this.#entries.length === 0) return files;
    const path = bundlePath(Math.floor(this.#size / TILE_WIDTH), this.#entries.length);
    return [...files, { path, bytes: Buffer.concat(this.#entries) }];
  }

  root(): Uint8Array {
    const parts = this.#edge.toReversed().flatMap(({ subtrees }) => subtrees);
    return parts.length === 0 ? EMPTY_ROOT : parts.reduceRight((right, left) => nodeHash(left, right));
  }
}
