import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { quoteRegex, regexPart, stringMatcher, templateRegex } from "./string-matcher.ts";

/** Every printable character that means something to RE2, and some that do not. */
const METACHARACTERS = fc.string({ unit: fc.constantFrom(..."\\.+*?()|[]{}^$-/_a1é,:=!<>&#~@% '\"`"), maxLength: 12 });

test("a quoted text matches itself and nothing else, whatever characters it has", () => {
  fc.assert(
    fc.property(METACHARACTERS, METACHARACTERS, (literal, other) => {
      const regex = new RegExp(`^(?:${quoteRegex(literal)})$`);
      assert.equal(regex.test(literal), true);
      assert.equal(regex.test(other), other === literal);
    }),
  );
});

test("every metacharacter of RE2 is quoted by a backslash", () => {
  assert.equal(quoteRegex("\\.+*?()|[]{}^$"), "\\\\\\.\\+\\*\\?\\(\\)\\|\\[\\]\\{\\}\\^\\$");
});

test("exact, prefix and suffix are compared as bytes, never as expressions", () => {
  for (const kind of ["exact", "prefix", "suffix"] as const) {
    assert.deepEqual(stringMatcher({ kind, value: "a.b" }), { matchPattern: { case: kind, value: "a.b" }, ignoreCase: false });
  }
});

test("presence takes every byte, also those that are not UTF-8", () => {
  assert.deepEqual(stringMatcher({ kind: "present" }), { matchPattern: { case: "safeRegex", value: { regex: "\\C+" } } });
});

test("a part of an expression keeps its wildcard inside its class of characters", () => {
  assert.equal(regexPart({ kind: "exact", value: "a.b" }, "[^/]"), "a\\.b");
  assert.equal(regexPart({ kind: "prefix", value: "a." }, "[^/]"), "a\\.[^/]*");
  assert.equal(regexPart({ kind: "suffix", value: ".b" }, "[^/]"), "[^/]*\\.b");
  assert.equal(regexPart({ kind: "present" }, "[^/]"), "[^/]+");
});

test("a path template quotes its literals and keeps `{*}` inside one segment", () => {
  const segments = [{ kind: "literal", value: "v1.0" }, { kind: "one" }, { kind: "literal", value: "a+b" }, { kind: "rest" }] as const;
  assert.equal(templateRegex(segments), "/v1\\.0/[^/]+/a\\+b/\\C*");
});
