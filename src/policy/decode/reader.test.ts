import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { rawNode } from "../../../test/fixture/raw-node.ts";
import { boolean, type Decoder, integer, list, mapOf, partialRecord, record, stringUpTo, text, whole } from "./reader.ts";
import { Report } from "./report.ts";

function decode<T>(decoder: Decoder<T>, value: unknown): { readonly result: T | undefined; readonly told: readonly string[] } {
  const report = new Report();
  const result = decoder({ node: rawNode(value), path: "x", report });
  return { result, told: report.diagnostics.map(({ code, message }) => `${code} ${message}`) };
}

describe("scalars", () => {
  const CASES: readonly (readonly [name: string, decoder: Decoder<unknown>, value: unknown, result: unknown, told: readonly string[]])[] = [
    ["text takes a string", text, "a", "a", []],
    ["text refuses an empty one", text, "", undefined, ["GAR0007 `x` must not be empty"]],
    ["text refuses a number", text, 5, undefined, ["GAR0006 `x` must be a string, not a number"]],
    ["text refuses nothing", text, null, undefined, ["GAR0006 `x` must be a string, not empty"]],
    ["text refuses a list", text, ["a"], undefined, ["GAR0006 `x` must be a string, not a list"]],
    ["text is bounded", text, "a".repeat(2049), undefined, ["GAR0009 `x` is longer than 2048 characters"]],
    ["stringUpTo takes an empty string", stringUpTo(3), "", "", []],
    ["stringUpTo takes its own length", stringUpTo(3), "abc", "abc", []],
    ["stringUpTo takes no more", stringUpTo(3), "abcd", undefined, ["GAR0009 `x` is longer than 3 characters"]],
    ["integer takes both ends", list(integer(1, 3), { max: 2 }), [1, 3], [1, 3], []],
    ["integer takes no less", integer(1, 3), 0, undefined, ["GAR0007 `x` must be 1 to 3, not 0"]],
    ["integer takes no more", integer(1, 3), 4, undefined, ["GAR0007 `x` must be 1 to 3, not 4"]],
    ["integer refuses a fraction", integer(1, 3), 1.5, undefined, ["GAR0006 `x` must be a whole number, not 1.5"]],
    ["integer refuses what is not a number", integer(1, 3), Number.NaN, undefined, ["GAR0006 `x` must be a whole number, not NaN"]],
    ["integer refuses digits in quotes", integer(1, 3), "2", undefined, ["GAR0006 `x` must be a whole number, not a string"]],
    ["integer refuses true", integer(0, 1), true, undefined, ["GAR0006 `x` must be a whole number, not a boolean"]],
    ["boolean takes false", boolean, false, false, []],
    ["boolean refuses a word", boolean, "false", undefined, ["GAR0006 `x` must be true or false, not a string"]],
  ];
  for (const [name, decoder, value, result, told] of CASES) it(name, () => assert.deepEqual(decode(decoder, value), { result, told }));
});

describe("list", () => {
  it("looks at every item, and is undefined if one is wrong", () => {
    assert.deepEqual(decode(list(text, { max: 5 }), ["a", 1, "b", 2]), {
      result: undefined,
      told: ["GAR0006 `x[1]` must be a string, not a number", "GAR0006 `x[3]` must be a string, not a number"],
    });
  });

  it("holds at most its maximum", () => {
    assert.deepEqual(decode(list(text, { max: 2 }), ["a", "b"]).result, ["a", "b"]);
    assert.deepEqual(decode(list(text, { max: 2 }), ["a", "b", "c"]), {
      result: undefined,
      told: ["GAR0009 `x` has 3 entries, more than 2"],
    });
  });

  it("may be empty unless a minimum is set", () => {
    assert.deepEqual(decode(list(text, { max: 2 }), []).result, []);
    assert.deepEqual(decode(list(text, { min: 1, max: 2 }), []), { result: undefined, told: ["GAR0007 `x` must not be empty"] });
  });

  it("does not take one value for a list of one", () => {
    assert.deepEqual(decode(list(text, { max: 2 }), "a"), { result: undefined, told: ["GAR0006 `x` must be a list, not a string"] });
  });
});

describe("mapOf", () => {
  const decoder = mapOf(text, integer(0, 9), { max: 2 });

  it("keeps keys and values", () =>
    assert.deepEqual(
      decode(decoder, { a: 1, b: 2 }).result,
      new Map([
        ["a", 1],
        ["b", 2],
      ]),
    ));

  it("keeps keys that are names of Object.prototype", () => {
    const hostile = JSON.parse('{"__proto__": 1, "constructor": 2}');
    assert.deepEqual(
      [...(decode(decoder, hostile).result ?? [])],
      [
        ["__proto__", 1],
        ["constructor", 2],
      ],
    );
  });

  it("is undefined if a key or a value is wrong", () => {
    assert.deepEqual(decode(decoder, { "": 1, b: "2" }), {
      result: undefined,
      told: ['GAR0007 `x[""]` must not be empty', "GAR0006 `x.b` must be a whole number, not a string"],
    });
  });

  it("holds at most its maximum", () =>
    assert.deepEqual(decode(decoder, { a: 1, b: 2, c: 3 }).told, ["GAR0009 `x` has 3 entries, more than 2"]));
});

describe("record", () => {
  const decoder = record((fields) => {
    fields.accept("status");
    fields.refuse({ tls: "write a policy" });
    return { name: fields.required("name", text), port: fields.optional("port", integer(1, 9)) ?? 5 };
  });

  it("reads its fields", () => assert.deepEqual(decode(decoder, { name: "a", port: 7 }), { result: { name: "a", port: 7 }, told: [] }));
  it("leaves out what is optional", () => assert.deepEqual(decode(decoder, { name: "a" }).result, { name: "a", port: 5 }));
  it("lets pass what it accepts", () => assert.deepEqual(decode(decoder, { name: "a", status: [1] }).told, []));
  it("tells what is missing", () => assert.deepEqual(decode(decoder, {}), { result: undefined, told: ["GAR0005 `x.name` is missing"] }));
  it("tells what is not supported", () =>
    assert.deepEqual(decode(decoder, { name: "a", tls: {} }), { result: undefined, told: ["GAR0004 `x.tls` is not supported"] }));

  it("is undefined if an optional field is wrong, so that no default stands in for it", () => {
    assert.deepEqual(decode(decoder, { name: "a", port: 0 }), { result: undefined, told: ["GAR0007 `x.port` must be 1 to 9, not 0"] });
  });

  it("tells each field that nobody reads", () => {
    assert.deepEqual(decode(decoder, { name: "a", prot: 1, "b\nc": 2 }), {
      result: undefined,
      told: ["GAR0003 unknown field `x.prot`", 'GAR0003 unknown field `x["b\\nc"]`'],
    });
  });

  it("takes nothing but a map", () => assert.deepEqual(decode(decoder, [{ name: "a" }]).told, ["GAR0006 `x` must be a map, not a list"]));

  it("answers what could be read if it is partial", () => {
    const partial = partialRecord((fields) => fields.optional("name", text));
    assert.deepEqual(decode(partial, { name: "a", other: 1 }), { result: "a", told: ["GAR0003 unknown field `x.other`"] });
  });
});

describe("whole", () => {
  it("is undefined after an error, whatever the decoder answers, and not after a warning", () => {
    const telling = (code: "GAR0003" | "GAR0011"): Decoder<string> =>
      whole(({ report, node }) => {
        report.add(code, node.place, "told");
        return "answer";
      });
    assert.equal(decode(telling("GAR0003"), 1).result, undefined);
    assert.equal(decode(telling("GAR0011"), 1).result, "answer");
  });
});
