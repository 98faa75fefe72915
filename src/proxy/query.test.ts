import assert from "node:assert/strict";
import test from "node:test";
import { setParam, withoutParam } from "./query.ts";

test("a parameter is removed wherever it stands, and the others stay as they are written", () => {
  assert.equal(withoutParam("?a=1&t=x&b=%20&%74=y", "t"), "?a=1&b=%20");
  assert.equal(withoutParam("?t=x", "t"), "");
  assert.equal(withoutParam("?a=1", "t"), "?a=1");
  assert.equal(withoutParam("", "t"), "");
});

test("a parameter is set once, in the place of its first, and what is special in it is escaped", () => {
  assert.equal(setParam("?a=1&b=2&a=3", "a", "x&y"), "?a=x%26y&b=2");
  assert.equal(setParam("?b=2", "a", "1"), "?b=2&a=1");
  assert.equal(setParam("", "a b", "1"), "?a%20b=1");
  assert.equal(setParam("?%zz=1", "a", "2"), "?%zz=1&a=2");
});
