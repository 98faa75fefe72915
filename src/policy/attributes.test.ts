import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ATTRIBUTES, type AttributeRow } from "./attributes.ts";
import { Report } from "./decode/report.ts";
import { valuesOf } from "./decode/values.ts";

const ROWS: readonly AttributeRow[] = Object.values(ATTRIBUTES);
const KEYS = Object.keys(ATTRIBUTES).filter((key): key is keyof typeof ATTRIBUTES => key in ATTRIBUTES);
const PLACE = { file: "examples.yaml", line: 1, column: 1 };

function duplicates(names: readonly (string | undefined)[]): readonly string[] {
  const present = names.filter((name) => name !== undefined);
  return present.filter((name, index) => present.indexOf(name) !== index);
}

describe("the table of attributes", () => {
  it("gives each field of a source, each field of an operation and each key of `when` to one row only", () => {
    assert.deepEqual(duplicates(ROWS.map(({ source }) => source)), []);
    assert.deepEqual(duplicates(ROWS.map(({ operation }) => operation)), []);
    assert.deepEqual(duplicates(ROWS.map(({ when }) => when)), []);
  });

  it("can be written somewhere, each row of it", () => {
    assert.deepEqual(
      ROWS.filter(({ source, operation, when }) => source === undefined && operation === undefined && when === undefined),
      [],
    );
  });

  it("has no field that reads like another's negative", () => {
    const fields = ROWS.flatMap(({ source, operation }) => [source, operation]).filter((name) => name !== undefined);
    assert.deepEqual(
      fields.filter((name) => name.startsWith("not")),
      [],
    );
  });

  for (const key of KEYS) {
    it(`has examples for \`${key}\` that its own grammar takes`, () => {
      const report = new Report();
      const items = ATTRIBUTES[key].examples.map((value) => ({ kind: "scalar" as const, value, place: PLACE }));
      const values = valuesOf(key, "shop")({ node: { kind: "list", items, place: PLACE }, path: key, report });
      assert.deepEqual(report.diagnostics, []);
      assert.equal(values?.length, items.length);
    });
  }
});
