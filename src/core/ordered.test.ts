import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Ordered } from "./ordered.ts";

describe("Ordered", () => {
  it("has after any changes what a sorted map has, and leaves those before as they were", () => {
    const key = fc.string({ maxLength: 2 });
    const few = fc.array(fc.tuple(key, fc.option(fc.nat(), { nil: undefined })), { maxLength: 8 });
    const many = fc.array(fc.tuple(key, fc.option(fc.nat(), { nil: undefined })), { minLength: 80, maxLength: 120 });
    fc.assert(
      fc.property(fc.array(fc.oneof({ weight: 5, arbitrary: few }, { weight: 1, arbitrary: many }), { maxLength: 10 }), (rounds) => {
        const expected = new Map<string, number>();
        let list = new Ordered<number>();
        for (const changes of rounds) {
          const [before, keys, values] = [list, [...list.keys], [...list.values]];
          list = list.with(new Map(changes));
          for (const [name, value] of new Map(changes)) {
            if (value === undefined) expected.delete(name);
            else expected.set(name, value);
          }
          const sorted = [...expected].sort(([left], [right]) => (left < right ? -1 : 1));
          assert.deepEqual(
            list.keys.map((name, index) => [name, list.values[index]]),
            sorted,
          );
          for (const [name, value] of sorted) assert.equal(list.get(name), value);
          assert.deepEqual([before.keys, before.values], [keys, values]);
        }
      }),
    );
  });

  it("is the same list where nothing changes", () => {
    const list = new Ordered<number>().with(new Map([["a", 1]]));
    assert.equal(list.with(new Map()), list);
    assert.equal(list.get("b"), undefined);
  });
});
