import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { LIMITS } from "./limits.ts";
import { printable, quote, Report } from "./report.ts";

const PLACE = { file: "a.yaml", line: 3, column: 5 };

describe("printable", () => {
  it("writes out what moves a cursor, breaks a line or turns writing around", () => {
    assert.equal(printable("a\u001b[2Jb\nc\u202ed\u2028e\u0000f\ud800g"), "a\\u{1b}[2Jb\\u{a}c\\u{202e}d\\u{2028}e\\u{0}f\\u{d800}g");
  });

  it("leaves letters of any script as they are", () => assert.equal(printable("café Ω 日本 😀"), "café Ω 日本 😀"));

  it("leaves nothing unseen, whatever it is given", () => {
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(printable(text))));
  });
});

describe("quote", () => {
  it("puts input into backticks", () => assert.equal(quote("a b"), "`a b`"));
  it("cuts long input off, and shows it", () => assert.equal(quote("x".repeat(500)), `\`${"x".repeat(100)}…\``));
});

describe("Report", () => {
  it("counts errors and not warnings", () => {
    const report = new Report();
    report.add("GAR0011", PLACE, "a warning");
    assert.equal(report.errors, 0);
    report.add("GAR0003", PLACE, "an error", "mend it");
    assert.equal(report.errors, 1);
    assert.deepEqual(report.diagnostics, [
      { code: "GAR0011", message: "a warning", place: PLACE },
      { code: "GAR0003", message: "an error", place: PLACE, help: "mend it" },
    ]);
  });

  it("keeps the first diagnostics only, and counts on", () => {
    const report = new Report();
    for (let index = 0; index < LIMITS.diagnostics + 10; index++) report.add("GAR0003", PLACE, `problem ${index}`);
    assert.equal(report.diagnostics.length, LIMITS.diagnostics);
    assert.equal(report.diagnostics.at(-1)?.message, `problem ${LIMITS.diagnostics - 1}`);
    assert.equal(report.errors, LIMITS.diagnostics + 10);
  });
});
