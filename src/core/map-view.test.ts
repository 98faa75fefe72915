import assert from "node:assert/strict";
import { test } from "node:test";
import { JoinedMap, mapped } from "./map-view.ts";

/** All that can be read of a map. */
function read<K, V>(map: ReadonlyMap<K, V>, asked: readonly K[]) {
  const visited: (readonly [K, V])[] = [];
  map.forEach((value, key) => {
    visited.push([key, value]);
  });
  return {
    size: map.size,
    keys: [...map.keys()],
    values: [...map.values()],
    entries: [...map.entries()],
    all: [...map],
    visited,
    found: asked.map((key) => [map.has(key), map.get(key)]),
  };
}

test("two maps joined are read as the one that has the entries of both", () => {
  const [own, shared] = [
    new Map([["a", 1]]),
    new Map([
      ["b", 2],
      ["c", 3],
    ]),
  ];
  assert.deepEqual(read(new JoinedMap(own, shared), ["a", "c", "d"]), read(new Map([...own, ...shared]), ["a", "c", "d"]));
});

test("a mapped map makes a value each time one is asked for, and none for its keys", () => {
  const made: string[] = [];
  const lengths = mapped(
    new Map([
      ["x", { text: "one" }],
      ["y", { text: "three" }],
    ]),
    ({ text }) => {
      made.push(text);
      return text.length;
    },
  );
  assert.deepEqual([[...lengths.keys()], lengths.size, lengths.has("x"), made], [["x", "y"], 2, true, []]);
  assert.deepEqual([lengths.get("y"), lengths.get("z"), made], [5, undefined, ["three"]]);
  assert.deepEqual(
    read(lengths, ["x", "z"]),
    read(
      new Map([
        ["x", 3],
        ["y", 5],
      ]),
      ["x", "z"],
    ),
  );
});
