import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { rawNode } from "../../test/fixture/raw-node.ts";
import { Report } from "../policy/decode/report.ts";
import { testRequest } from "./test-request.ts";

function decode(fields: Readonly<Record<string, unknown>>): unknown {
  const report = new Report();
  const request = testRequest({ node: rawNode({ from: "plaintext", ...fields }), path: "request", report });
  return request?.tokens ?? report.diagnostics.map(({ code, message }) => `${code} ${message}`);
}

const AUTHORIZATION = { kind: "header", name: "authorization", prefix: "Bearer " };

describe("tokens of a test", () => {
  it("stand in Authorization where nothing else is said, by claims of any form", () => {
    const claims = { iss: "a", n: [1, { x: null }], ok: true };
    assert.deepEqual(decode({ jwt: claims }), [{ place: AUTHORIZATION, kind: "claims", claims }]);
    assert.deepEqual(decode({ token: "a.b.c" }), [{ place: AUTHORIZATION, kind: "raw", text: "a.b.c" }]);
    assert.deepEqual(decode({}), []);
  });

  it("stand in a header without a prefix, with one, in a parameter or a cookie", () => {
    const placeOf = (fields: Readonly<Record<string, unknown>>) => decode({ tokens: [{ token: "t", ...fields }] });
    assert.deepEqual(placeOf({ header: "X-Jwt" }), [{ place: { kind: "header", name: "x-jwt", prefix: "" }, kind: "raw", text: "t" }]);
    assert.deepEqual(placeOf({ header: "Authorization", prefix: "" }), [
      { place: { ...AUTHORIZATION, prefix: "" }, kind: "raw", text: "t" },
    ]);
    assert.deepEqual(placeOf({ param: "p" }), [{ place: { kind: "param", name: "p" }, kind: "raw", text: "t" }]);
    assert.deepEqual(placeOf({ cookie: "c" }), [{ place: { kind: "cookie", name: "c" }, kind: "raw", text: "t" }]);
  });

  for (const [what, fields, problem] of [
    ["both forms at once", { jwt: {}, token: "x" }, "GAR0007 `request` has both `jwt` and `token`"],
    ["two places", { jwt: {}, header: "a", cookie: "b" }, "GAR0007 `request` has both `header` and `cookie`"],
    ["a place without a token", { header: "a" }, "GAR0005 `request` has `header` and no token"],
    ["a prefix without a header", { token: "x", prefix: "a" }, "GAR0007 `request` has a `prefix` and no `header`"],
    ["claims that are no map", { jwt: "x" }, "GAR0006 `request.jwt` must be a map, not a string"],
    ["a token with a blank, without quoting it", { token: "se cret" }, "GAR0007 `request.token` is not a token"],
    ["an empty list", { tokens: [] }, "GAR0007 `request.tokens` must not be empty"],
    ["a token that is none", { tokens: [{}] }, "GAR0005 `request.tokens[0]` names no token"],
    ["a token beside a list", { token: "x", tokens: [{ token: "y" }] }, "GAR0007 `request` has a token of its own and `tokens`"],
  ] as const)
    it(`are refused with ${what}`, () =>
      assert.deepEqual(decode(fields), [problem.replace("must be a map, not", "must be a map of claims, not")]));
});
