/** The hashes of a log's Merkle tree (RFC 6962 §2.1). */
import { hash } from "node:crypto";

export const HASH_BYTES = 32;

const LEAF = Buffer.from([0]);
/** The prefix of a node, and room for its two children. */
const node = Buffer.alloc(1 + 2 * HASH_BYTES, 1);

export function leafHash(entry: Uint8Array): Uint8Array {
  return hash("sha256", Buffer.concat([LEAF, entry]), "buffer");
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  node.set(left, 1);
  node.set(right, 1 + HASH_BYTES);
  return hash("sha256", node, "buffer");
}

/** The root of a tree without leaves. */
export const EMPTY_ROOT: Uint8Array = hash("sha256", Buffer.alloc(0), "buffer");

/** The hash over `hashes`, of which there are a power of two: the roots of perfect subtrees of one height, side by side. */
export function perfectRoot(hashes: readonly Uint8Array[]): Uint8Array {
  let level = hashes;
  while (level.length > 1) {
    const above: Uint8Array[] = [];
    for (let i = 0; i + 1 < level.length; i += 2) above.push(nodeHash(level[i] ?? EMPTY_ROOT, level[i + 1] ?? EMPTY_ROOT));
    level = above;
  }
  return level[0] ?? EMPTY_ROOT;
}

/** The largest power of two below `count`, which is at least 2. */
export function splitPoint(count: number): number {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}

/** The hash that an inclusion proof leads to: of a tree of `size` leaves with `leaf` at `index` (RFC 9162 §2.1.3.2); undefined when the proof cannot be one. */
export function rootFromProof(leaf: Uint8Array, index: number, size: number, proof: readonly Uint8Array[]): Uint8Array | undefined {
  if (!Number.isSafeInteger(index) || index < 0 || index >= size) return undefined;
  let [at, last, root] = [index, size - 1, leaf];
  for (const sibling of proof) {
    if (last === 0) return undefined;
    if (at % 2 === 1 || at === last) {
      root = nodeHash(sibling, root);
      while (at % 2 === 0 && at !== 0) [at, last] = [at / 2, Math.floor(last / 2)];
    } else {
      root = nodeHash(root, sibling);
    }
    [at, last] = [Math.floor(at / 2), Math.floor(last / 2)];
  }
  return last === 0 ? root : undefined;
}
