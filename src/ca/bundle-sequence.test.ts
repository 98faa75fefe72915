import assert from "node:assert/strict";
import { chmodSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { BundleSequence } from "./bundle-sequence.ts";

test("the number grows with each change of roots or keys, stays without one, and goes on after a restart", (t) => {
  const folder = tempFolder(t);
  const first = new BundleSequence(folder);
  const numbers = [
    first.number({ roots: "a", jwks: "k" }),
    first.number({ roots: "a", jwks: "k" }),
    first.number({ roots: "ab", jwks: "k" }),
  ].map(({ sequence }) => sequence);
  assert.deepEqual(numbers, [1, 1, 2]);
  const second = new BundleSequence(folder);
  assert.equal(second.number({ roots: "ab", jwks: "k" }).sequence, 2);
  assert.equal(second.number({ roots: "ab", jwks: "l" }).sequence, 3);
  assert.equal(statSync(join(folder, "trust-bundle.json")).mode & 0o777, 0o600);
});

test("a file that is damaged or that others may use is refused by name", (t) => {
  const folder = tempFolder(t);
  const file = join(folder, "trust-bundle.json");
  writeFileSync(file, '{"sequence":"1"}', { mode: 0o600 });
  assert.throws(() => new BundleSequence(folder), { code: "invalid-configuration", where: file });
  chmodSync(file, 0o644);
  assert.throws(() => new BundleSequence(folder), { code: "unsafe-permissions" });
});

test("numbers whose file was lost go on above what others have seen, and from there by one", (t) => {
  const folder = tempFolder(t);
  const first = new BundleSequence(folder, 0);
  assert.equal(first.number({ roots: "a", jwks: "" }).sequence, 1);
  rmSync(join(folder, "trust-bundle.json"));
  const second = new BundleSequence(folder, 1_795_000_000);
  assert.equal(second.number({ roots: "a", jwks: "" }).sequence, 1_795_000_001);
  assert.equal(second.number({ roots: "b", jwks: "" }).sequence, 1_795_000_002);
  const third = new BundleSequence(folder, 1_795_000_900);
  assert.equal(third.number({ roots: "b", jwks: "" }).sequence, 1_795_000_002);
});
