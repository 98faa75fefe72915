import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatValueMatch, parseStringMatch } from "./pattern.ts";
import { claimAt, claimPath, splitRequestPrincipal, textsOf } from "./requester.ts";

describe("a value of requestPrincipals", () => {
  const cases: readonly (readonly [value: string, issuer: string, subject: string])[] = [
    ["https://a.example/alice", "https://a.example", "alice"],
    ["https://a.example/x/alice", "https://a.example/x", "alice"],
    ["*", "*", "*"],
    ["https://a.example/*", "https://a.example", "*"],
    ["https://a.example/al*", "https://a.example", "al*"],
    ["https:*", "https:*", "*"],
    ["*/alice", "*", "alice"],
    ["*.example/alice", "*.example", "alice"],
    ["*ice", "*", "*ice"],
    ["issuer", "issuer", ""],
  ];
  for (const [value, issuer, subject] of cases) {
    it(`\`${value}\` asks for issuer \`${issuer}\` and subject \`${subject}\``, () => {
      const split = splitRequestPrincipal(parseStringMatch(value));
      assert.deepEqual([formatValueMatch(split.issuer), formatValueMatch(split.subject)], [issuer, subject]);
    });
  }
});

describe("claims", () => {
  const requester = { claims: { a: { b: ["x", 1, "y"] }, "a.b": "flat", list: [{ b: "z" }], n: 5 } };

  it("are found by their path, and never by what objects inherit", () => {
    assert.deepEqual(claimAt(requester, claimPath("a][b")), ["x", 1, "y"]);
    assert.equal(claimAt(requester, claimPath("a.b")), "flat");
    for (const path of ["a][c", "n][b", "list][b", "list][0", "toString", "a][__proto__", "__proto__][toString"])
      assert.equal(claimAt(requester, claimPath(path)), undefined, path);
  });

  it("match by their texts alone", () => {
    assert.deepEqual(textsOf(["x", 1, "y", null]), ["x", "y"]);
    assert.deepEqual([textsOf("x"), textsOf(5), textsOf(undefined), textsOf({ x: "y" })], [["x"], [], [], []]);
  });
});
