import assert from "node:assert/strict";
import { test } from "node:test";
import { schemaErrors } from "./schema.ts";

const SCHEMA = {
  type: "object",
  additionalProperties: false,
  required: ["name"],
  properties: {
    name: { type: "string", pattern: "^[a-z]*$", maxLength: 3 },
    count: { type: "integer", minimum: 1, maximum: 5 },
    mode: { type: "string", enum: ["on", "off"] },
    names: { type: "array", maxItems: 2, uniqueItems: true },
    list: { type: "array", items: { type: "object", additionalProperties: { type: "string" } } },
  },
};

test("nothing is wrong with what is as the schema says", () => {
  assert.deepEqual(schemaErrors({ name: "abc", count: 5, mode: "on", list: [{ a: "b" }] }, SCHEMA), []);
});

for (const [value, wrong] of [
  [{}, ["has no `name`"]],
  [{ name: "a", other: 1 }, ["has an unknown value `other`"]],
  [{ name: "ABCD" }, ["`name` does not match ^[a-z]*$", "`name` is longer than 3"]],
  [{ name: 1 }, ["`name` is not of type string"]],
  [{ name: null }, ["`name` is not of type string"]],
  [{ name: "a", count: 0 }, ["`count` is less than 1"]],
  [{ name: "a", count: 6 }, ["`count` is more than 5"]],
  [{ name: "a", count: 1.5 }, ["`count` is not of type integer"]],
  [{ name: "a", mode: "maybe" }, ["`mode` is not one of on, off"]],
  [{ name: "a", names: ["b", "c", "d"] }, ["`names` has more than 2 items"]],
  [{ name: "a", names: ["b", "b"] }, ["`names` has an item twice"]],
  [{ name: "a", list: [{}, { a: 1 }] }, ["`list[1].a` is not of type string"]],
] as const) {
  test(`${JSON.stringify(value)} ${wrong.join(", ")}`, () => {
    assert.deepEqual(schemaErrors(value, SCHEMA), wrong);
  });
}

test("a schema of more than is understood is refused, rather than half of it held", () => {
  assert.throws(() => schemaErrors("a", { format: "email" }), /keyword `format` is not understood/);
});
