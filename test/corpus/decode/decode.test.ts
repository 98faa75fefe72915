/**
 * Each `NAME.yaml` here is decoded, and must come out as `NAME.out.json` says: the objects, and every diagnostic with its
 * code, message, line and column. `GARRISON_UPDATE_GOLDEN=1 node --test test/corpus/decode/decode.test.ts` rewrites
 * the `.out.json` files and removes those without a `.yaml`.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { DIAGNOSTICS, formatDiagnostic, type Place } from "../../../src/core/diagnostic.ts";
import { type DecodedObject, decodeObject, isClosedForm } from "../../../src/policy/decode/decode.ts";
import { parseYamlDocuments } from "../../../src/sources/yaml-documents.ts";

const FOLDER = import.meta.dirname;
const UPDATE = process.env.GARRISON_UPDATE_GOLDEN === "1";
const CASES = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".yaml"))
  .sort();

function isPlace(value: object): value is Place {
  return "file" in value && "line" in value && "column" in value;
}

/** JSON of the model: maps as objects, places as `line:column`, bytes of addresses in one string. */
function toJson(_key: string, value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries(value);
  if (typeof value !== "object" || value === null) return value;
  if (isPlace(value)) return `${value.line}:${value.column}`;
  if (Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === "number")) return value.join(".");
  return value;
}

function outcome({ valid, key, claim, object, diagnostics }: DecodedObject): object {
  const shown = key === undefined ? { claim: claim ?? "none" } : { key };
  return { valid, ...shown, ...(object === undefined ? {} : { object }), diagnostics: diagnostics.map(formatDiagnostic) };
}

function decodeFile(name: string): readonly DecodedObject[] {
  const { documents, diagnostic } = parseYamlDocuments(readFileSync(join(FOLDER, name), "utf8"), name);
  assert.equal(diagnostic, undefined);
  return documents.map(decodeObject);
}

function goldenOf(name: string): string {
  return join(FOLDER, name.replace(/\.yaml$/, ".out.json"));
}

if (UPDATE) {
  const wanted = new Set(CASES.map(goldenOf));
  for (const name of readdirSync(FOLDER)) {
    if (name.endsWith(".out.json") && !wanted.has(join(FOLDER, name))) rmSync(join(FOLDER, name));
  }
  for (const name of CASES) writeFileSync(goldenOf(name), `${JSON.stringify(decodeFile(name).map(outcome), toJson, 2)}\n`);
}

describe("decoding the corpus", () => {
  for (const name of CASES) {
    it(`decodes each document of ${name} as its .out.json says`, () => {
      const actual: unknown = JSON.parse(JSON.stringify(decodeFile(name).map(outcome), toJson));
      const expected: unknown = JSON.parse(readFileSync(goldenOf(name), "utf8"));
      assert.deepEqual(actual, expected);
    });
  }

  it("has every diagnostic that decoding can give", () => {
    const given = new Set(CASES.flatMap((name) => decodeFile(name).flatMap(({ diagnostics }) => diagnostics.map(({ code }) => code))));
    const ofDecoding = Object.keys(DIAGNOSTICS).filter((code) => code < "GAR0100" && !["GAR0001", "GAR0008", "GAR0010"].includes(code));
    ofDecoding.push("GAR0216");
    assert.deepEqual([...given].sort(), ofDecoding);
  });

  it("closes or refuses every invalid object, and leaves no valid one without an object", () => {
    const all = CASES.flatMap(decodeFile);
    assert.ok(all.filter(({ valid }) => !valid).length > 40);
    for (const { valid, object, diagnostics } of all) {
      const closed = object !== undefined && isClosedForm(object);
      assert.equal(
        valid ? !closed && object !== undefined : closed || object === undefined,
        true,
        diagnostics.map(formatDiagnostic).join("\n"),
      );
    }
  });
});
