import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { aliasesOf, expandPrincipal } from "./trust-domains.ts";

const NAMES = ["td2", "td1", "cluster"];

/** What each value becomes in a mesh `td2` that was called `td1` and `cluster`. */
const EXPANDED: Readonly<Record<string, readonly string[]>> = {
  "td2/ns/foo/sa/bar": ["td2/ns/foo/sa/bar", "td1/ns/foo/sa/bar", "cluster/ns/foo/sa/bar"],
  "td1/ns/foo/sa/bar": ["td2/ns/foo/sa/bar", "td1/ns/foo/sa/bar", "cluster/ns/foo/sa/bar"],
  "cluster.local/ns/foo/sa/bar": ["td2/ns/foo/sa/bar", "td1/ns/foo/sa/bar", "cluster/ns/foo/sa/bar"],
  "td1/ns/foo/sa/*": ["td2/ns/foo/sa/*", "td1/ns/foo/sa/*", "cluster/ns/foo/sa/*"],
  "*d1/ns/foo/sa/bar": ["td2/ns/foo/sa/bar", "*d1/ns/foo/sa/bar", "cluster/ns/foo/sa/bar"],
  "td*/ns/foo/sa/bar": ["td2/ns/foo/sa/bar", "td1/ns/foo/sa/bar", "cluster/ns/foo/sa/bar"],
  "*/ns/foo/sa/bar": ["*/ns/foo/sa/bar"],
  "*-other/ns/foo/sa/bar": ["*-other/ns/foo/sa/bar"],
  "td3/ns/foo/sa/bar": ["td3/ns/foo/sa/bar"],
  "/ns/foo/sa/bar": ["/ns/foo/sa/bar"],
  "td1/ns/foo/*": ["td1/ns/foo/*"],
  "td1/ns/foo/sa/bar/x": ["td1/ns/foo/sa/bar/x"],
  "*": ["*"],
  "*/sa/bar": ["*/sa/bar"],
};

describe("expandPrincipal", () => {
  for (const [text, expected] of Object.entries(EXPANDED)) {
    it(`makes \`${text}\` ${expected.length === 1 ? "what it says" : "every name of the mesh"}`, () =>
      assert.deepEqual(expandPrincipal(text, NAMES), expected));
  }

  it("replaces `cluster.local` by the mesh's own name where it has no alias", () =>
    assert.deepEqual(expandPrincipal("cluster.local/ns/a/sa/b", ["corp"]), ["corp/ns/a/sa/b"]));
});

describe("aliasesOf", () => {
  it("names the same account in each other trust domain", () => {
    assert.deepEqual(aliasesOf("spiffe://td2/ns/a/sa/b", NAMES), ["spiffe://td1/ns/a/sa/b", "spiffe://cluster/ns/a/sa/b"]);
    assert.deepEqual(aliasesOf("spiffe://td2/ns/a/sa/b", ["td2"]), []);
  });
});
