import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { JoinedMap } from "../core/map-view.ts";
import { type ChangedTypes, changeBetween, ResourceCache, resource, resourcesOf, versionOf } from "./cache.ts";
import { PLAIN, setOf } from "./test-support.ts";

function watched(cache: ResourceCache, key: string): ChangedTypes[] {
  const seen: ChangedTypes[] = [];
  cache.watch(key, (changed) => seen.push(changed));
  return seen;
}

test("a resource's version is equal for equal bodies and differs for others", () => {
  assert.equal(resource("a", Buffer.from("x")).version, resource("b", Buffer.from("x")).version);
  assert.notEqual(resource("a", Buffer.from("x")).version, resource("a", Buffer.from("y")).version);
});

test("a changed set tells the watchers of its key which types changed, and nobody else", () => {
  const cache = new ResourceCache();
  const a = watched(cache, "a");
  const b = watched(cache, "b");
  cache.set("a", setOf({ T: { x: "1" }, U: { y: "1" } }));
  cache.set("a", setOf({ T: { x: "2" }, U: { y: "1" } }));
  cache.set("a", setOf({ U: { y: "1" } }));
  assert.deepEqual(a, ["all", new Set(["T"]), new Set(["T"])]);
  assert.deepEqual(b, []);
});

test("a renamed resource with the same body is a change", () => {
  const cache = new ResourceCache();
  cache.set("a", setOf({ T: { x: "1" } }));
  const seen = watched(cache, "a");
  cache.set("a", setOf({ T: { z: "1" } }));
  assert.deepEqual(seen, [new Set(["T"])]);
});

test("an equal set tells nobody and does not replace the one that is there", () => {
  const cache = new ResourceCache();
  const first = setOf({ T: { x: "1" } });
  cache.set("a", first);
  const seen = watched(cache, "a");
  cache.set("a", setOf({ T: { x: "1" } }));
  assert.deepEqual(seen, []);
  assert.equal(cache.get("a"), first);
});

test("a set that may have to be replaced is not current until another or an equal one is set, or it is confirmed, and that is told", () => {
  const cache = new ResourceCache();
  assert.equal(cache.isCurrent("a"), false);
  const set = setOf({ T: { x: "1" } });
  cache.set("a", set);
  assert.equal(cache.isCurrent("a"), true);
  const seen = watched(cache, "a");
  for (const settle of [
    () => cache.confirm("a"),
    () => cache.set("a", setOf({ T: { x: "1" } })),
    () => cache.set("a", setOf({ T: { x: "2" } })),
  ]) {
    cache.outdate("a");
    assert.equal(cache.isCurrent("a"), false);
    settle();
    assert.equal(cache.isCurrent("a"), true);
  }
  cache.confirm("a");
  assert.deepEqual(seen, [new Set(), new Set(), new Set(["T"])]);
  cache.outdate("a");
  cache.delete("a");
  assert.equal(cache.isCurrent("a"), false);
});

test("a deleted key is gone without a word, and all of it is news when it comes back", () => {
  const cache = new ResourceCache();
  cache.set("a", setOf({ T: { x: "1" } }));
  const seen = watched(cache, "a");
  cache.delete("a");
  assert.equal(cache.has("a"), false);
  cache.set("a", setOf({ T: { x: "1" } }));
  assert.deepEqual(seen, ["all"]);
});

test("a watch that was ended hears nothing", () => {
  const cache = new ResourceCache();
  const seen: ChangedTypes[] = [];
  const unwatch = cache.watch("a", (changed) => seen.push(changed));
  const others = watched(cache, "a");
  unwatch();
  cache.set("a", setOf({ T: { x: "1" } }));
  assert.deepEqual(seen, []);
  assert.deepEqual(others, ["all"]);
});

test("the version of a type does not depend on the order of its resources", () => {
  const version = (texts: Record<string, string>) => versionOf(resourcesOf(setOf({ [PLAIN]: texts }), PLAIN));
  assert.equal(version({ a: "1", b: "2" }), version({ b: "2", a: "1" }));
  assert.notEqual(version({ a: "1", b: "2" }), version({ a: "2", b: "1" }));
  assert.notEqual(version({ a: "1" }), version({}));
});

test("maps that share a part differ in what all of the one and all of the other differ in, though a resource went from one part to the other", () => {
  const names = ["a", "b", "c", "d"];
  const place = fc.record({ part: fc.constantFrom("own", "shared", "none"), version: fc.constantFrom("1", "2") });
  const state = fc.record(Object.fromEntries(names.map((name) => [name, place])));
  const partsOf = (places: Readonly<Record<string, { readonly part: string; readonly version: string }>>) =>
    ["own", "shared"].map((wanted) => {
      const found = Object.entries(places).filter(([, { part }]) => part === wanted);
      return new Map(found.map(([name, { version }]) => [name, resource(name, Buffer.from(version))] as const));
    });
  const told = ({ made, gone }: ReturnType<typeof changeBetween>) => [
    made.map(({ name, version }) => `${name} ${version}`).sort(),
    [...gone].sort(),
  ];
  fc.assert(
    fc.property(state, state, (before, after) => {
      const [[ownBefore = new Map(), sharedBefore = new Map()], [ownAfter = new Map(), sharedAfter = new Map()]] = [
        partsOf(before),
        partsOf(after),
      ];
      const joined = changeBetween(new JoinedMap(ownBefore, sharedBefore), new JoinedMap(ownAfter, sharedAfter));
      const plain = changeBetween(new Map([...ownBefore, ...sharedBefore]), new Map([...ownAfter, ...sharedAfter]));
      assert.deepEqual(told(joined), told(plain));
    }),
    { numRuns: 1_000 },
  );
});
