import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { InternedLists } from "./interned.ts";
import { keptWith } from "./kept-with.ts";

interface Whole {
  readonly name: string;
  readonly other: object;
}

describe("a result that is kept with a part", () => {
  const other = {};
  const counted = () => {
    let made = 0;
    const describePart = keptWith((whole: Whole, part: { readonly of: string }) => {
      made += 1;
      return { text: part.of === "short" ? part.of : `${part.of} ${whole.name}` };
    });
    return { describePart, made: () => made };
  };

  it("is the same object while the part is, and the fields that were read are", () => {
    const { describePart } = counted();
    const part = { of: "x" };
    const first = describePart({ name: "a", other }, part);
    assert.equal(describePart({ name: "a", other: {} }, part), first);
    assert.notEqual(describePart({ name: "a", other }, { of: "x" }), first);
    assert.deepEqual(describePart({ name: "b", other }, part), { text: "x b" });
  });

  it("does not depend on a field that was not read this time", () => {
    const { describePart, made } = counted();
    const part = { of: "short" };
    describePart({ name: "a", other }, part);
    describePart({ name: "b", other }, part);
    assert.equal(made(), 1);
  });

  it("is kept for a few wholes that share the part, and made again for many", () => {
    const { describePart, made } = counted();
    const part = { of: "x" };
    for (const name of ["a", "b", "a", "b"]) describePart({ name, other }, part);
    assert.equal(made(), 2);
    for (const name of ["c", "d", "e", "f", "a"]) describePart({ name, other }, part);
    assert.equal(made(), 7);
  });

  it("cannot be made of fields that nobody names", () => {
    const spread = keptWith((whole: Whole, _: object) => ({ ...whole }));
    assert.throws(() => spread({ name: "a", other }, {}), /by their names/);
  });
});

describe("interned lists", () => {
  const [a, b] = [{}, {}];

  it("are one list where they have the same objects in the same order", () => {
    const lists = new InternedLists<object>();
    const first = lists.of([a, b]);
    assert.equal(lists.of([a, b]), first);
    assert.notEqual(lists.of([b, a]), first);
    assert.notEqual(lists.of([a]), first);
    assert.equal(lists.of([]), lists.of([]));
  });
});
