import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { leafHash, rootFromProof } from "./merkle.ts";
import { LogReader } from "./reader.ts";
import { bundlePath, tilePath } from "./tile-paths.ts";
import { entriesOf, Tree } from "./tree.ts";

const entryOf = (index: number) => Buffer.from(`entry ${index}`);
const sha256 = (...parts: readonly Uint8Array[]) => createHash("sha256").update(Buffer.concat(parts)).digest();

/** RFC 6962 §2.1, word by word. */
function definedRoot(entries: readonly Uint8Array[]): Uint8Array {
  const [first] = entries;
  if (first === undefined) return sha256();
  if (entries.length === 1) return sha256(Buffer.from([0]), first);
  let k = 1;
  while (k * 2 < entries.length) k *= 2;
  return sha256(Buffer.from([1]), definedRoot(entries.slice(0, k)), definedRoot(entries.slice(k)));
}

const SIZES = [0, 1, 2, 3, 5, 8, 255, 256, 257, 300, 511, 512, 513, 1000];
const MANY = 65_536 + 256 * 3 + 7;

describe("Tree", () => {
  test("has the root that RFC 6962 defines, at every size, also when restored from its edge", () => {
    const tree = new Tree();
    const entries: Uint8Array[] = [];
    for (const size of SIZES) {
      while (entries.length < size) {
        entries.push(entryOf(entries.length));
        tree.add(entryOf(entries.length - 1));
      }
      assert.deepEqual(Buffer.from(tree.root()), definedRoot(entries));
      assert.deepEqual(Buffer.from(tree.copy().root()), definedRoot(entries));
    }
  });

  test("takes entries of up to 65,535 bytes", () => {
    const tree = new Tree();
    tree.add(Buffer.alloc(0xffff, 1));
    assert.throws(() => tree.add(Buffer.alloc(0x1_0000)), RangeError);
    const [bundle] = tree.edge().filter(({ path }) => path.startsWith("tile/entries"));
    assert.deepEqual(
      entriesOf(bundle?.bytes ?? Buffer.of())?.map(({ length }) => length),
      [0xffff],
    );
  });
});

test("paths are those of tlog-tiles", () => {
  assert.equal(tilePath(0, 1_234_067, 256), "tile/0/x001/x234/067");
  assert.equal(tilePath(1, 0, 3), "tile/1/000.p/3");
  assert.equal(bundlePath(1000, 255), "tile/entries/x001/000.p/255");
});

describe("a log of three levels of tiles", () => {
  let folder = "";
  const tree = new Tree();
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "tiles-"));
    const write = ({ path, bytes }: { readonly path: string; readonly bytes: Uint8Array }) => {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), bytes);
    };
    for (let i = 0; i < MANY; i++) for (const file of tree.add(entryOf(i))) write(file);
    for (const file of tree.edge()) write(file);
  });
  after(() => rmSync(folder, { recursive: true }));

  test("proves each entry, and no other in its place", () => {
    const reader = new LogReader(folder, MANY);
    for (const index of [0, 1, 255, 256, 65_535, 65_536, 65_537, MANY - 8, MANY - 1]) {
      const proof = reader.inclusionProof(index);
      const rootOf = (entry: number, at = index) => rootFromProof(leafHash(entryOf(entry)), at, MANY, proof);
      assert.deepEqual(rootOf(index), tree.root(), `leaf ${index}`);
      assert.notDeepEqual(rootOf(index + 1), tree.root());
      assert.notDeepEqual(rootOf(index, index ^ 1), tree.root());
      assert.equal(rootFromProof(leafHash(entryOf(index)), index, MANY, proof.slice(1)), undefined);
      assert.equal(rootFromProof(leafHash(entryOf(index)), index, MANY, [...proof, Buffer.alloc(32)]), undefined);
    }
    assert.equal(rootFromProof(leafHash(entryOf(0)), MANY, MANY, []), undefined);
  });

  test("reads its entries back from any of them on", () => {
    const read = [...new LogReader(folder, MANY).entries(MANY - 300)].map((entry) => Buffer.from(entry).toString());
    assert.equal(read.length, 300);
    assert.deepEqual([read[0], read.at(-1)], [`entry ${MANY - 300}`, `entry ${MANY - 1}`]);
  });
});
