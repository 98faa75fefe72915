import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InternedByKey, InternedLists } from "./interned.ts";

test("lists of the same objects in the same order are one list, and no others are", () => {
  const items = Array.from({ length: 4 }, (_, index) => ({ index }));
  const list = fc.array(fc.constantFrom(...items), { maxLength: 4 });
  const lists = new InternedLists<object>();
  const held: (readonly object[])[] = [];
  fc.assert(
    fc.property(list, list, (left, right) => {
      const [one, other] = [lists.of(left), lists.of(right)];
      held.push(one, other);
      assert.deepEqual(one, left);
      assert.equal(one === other, left.length === right.length && left.every((item, index) => item === right[index]));
    }),
    { numRuns: 2_000 },
  );
});

test("lists whose hashes meet are told apart", () => {
  const lists = new InternedLists<object>();
  // A list's hash is 31 times that of all but its last object, and that one's number: of objects numbered in a row, many pairs meet.
  const items = Array.from({ length: 64 }, (_, index) => ({ index }));
  for (const item of items) lists.of([item]);
  const pairs = items.flatMap((left) => items.map((right) => [left, right]));
  const interned = pairs.map((pair) => lists.of(pair));
  assert.deepEqual(interned, pairs);
  assert.equal(new Set(interned).size, pairs.length);
});

test("what is of one key is made once while somebody has it", () => {
  const byKey = new InternedByKey<{ readonly of: string }>();
  let made = 0;
  const of = (key: string) =>
    byKey.of(key, () => {
      made += 1;
      return { of: key };
    });
  const [one, other] = [of("a"), of("b")];
  assert.equal(of("a"), one);
  assert.equal(of("b"), other);
  assert.equal(made, 2);
});
