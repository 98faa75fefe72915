import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { AppError } from "../core/error.ts";
import { formatSpiffeId, isSpiffeIdOf, parseServiceAccount, parseSpiffeId } from "./spiffe-id.ts";

function refused(parse: () => unknown): void {
  assert.throws(
    parse,
    (error) => error instanceof AppError && error.code === "invalid-argument" && error.help !== undefined && error.message.length < 500,
  );
}

describe("parseSpiffeId", () => {
  it("reads trust domain, namespace and service account", () => {
    assert.deepEqual(parseSpiffeId("spiffe://cluster.local/ns/photo-ns/sa/photo-frontend"), {
      trustDomain: "cluster.local",
      namespace: "photo-ns",
      serviceAccount: "photo-frontend",
    });
  });

  it("takes a service account with dots, which Kubernetes allows", () => {
    assert.equal(parseSpiffeId("spiffe://a/ns/b/sa/c.d").serviceAccount, "c.d");
  });

  it("reads what formatSpiffeId writes, and writes what it reads", () => {
    const name = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?$/);
    fc.assert(
      fc.property(name, name, name, (trustDomain, namespace, serviceAccount) => {
        const text = `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
        const id = parseSpiffeId(text);
        assert.deepEqual({ ...id }, { trustDomain, namespace, serviceAccount });
        assert.equal(formatSpiffeId(id), text);
      }),
    );
  });

  const REFUSED: readonly (readonly [why: string, text: string])[] = [
    ["nothing", ""],
    ["another scheme", "https://cluster.local/ns/a/sa/b"],
    ["a scheme in upper case", "SPIFFE://cluster.local/ns/a/sa/b"],
    ["no trust domain", "spiffe:///ns/a/sa/b"],
    ["a trust domain in upper case", "spiffe://Cluster.Local/ns/a/sa/b"],
    ["a port", "spiffe://cluster.local:443/ns/a/sa/b"],
    ["a user", "spiffe://user@cluster.local/ns/a/sa/b"],
    ["fewer segments", "spiffe://cluster.local/ns/a/sa"],
    ["more segments", "spiffe://cluster.local/ns/a/sa/b/c"],
    ["a slash at the end", "spiffe://cluster.local/ns/a/sa/b/"],
    ["an empty segment", "spiffe://cluster.local/ns//sa/b"],
    ["other literals", "spiffe://cluster.local/namespace/a/sa/b"],
    ["literals the other way round", "spiffe://cluster.local/sa/a/ns/b"],
    ["upper case", "spiffe://cluster.local/ns/A/sa/b"],
    ["a dot segment", "spiffe://cluster.local/ns/../sa/b"],
    ["an escape", "spiffe://cluster.local/ns/a%2fb/sa/c"],
    ["a query", "spiffe://cluster.local/ns/a/sa/b?x=1"],
    ["a fragment", "spiffe://cluster.local/ns/a/sa/b#x"],
    ["a NUL", "spiffe://cluster.local/ns/a/sa/b\0.evil"],
    ["a line break", "spiffe://cluster.local/ns/a/sa/b\n"],
    ["a space before", " spiffe://cluster.local/ns/a/sa/b"],
    ["a wildcard", "spiffe://cluster.local/ns/a/sa/*"],
    ["a name of 254 characters", `spiffe://cluster.local/ns/a/sa/${"b".repeat(254)}`],
    ["more than 2048 characters", `spiffe://cluster.local/ns/a/sa/${"b".repeat(5000)}`],
  ];
  for (const [why, text] of REFUSED) it(`refuses ${why}`, () => refused(() => parseSpiffeId(text)));

  it("throws nothing but an AppError, whatever it is given", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((tail) => `spiffe://${tail}`),
          fc.string().map((tail) => `spiffe://a/ns/b/sa/${tail}`),
        ),
        (text) => {
          try {
            assert.equal(formatSpiffeId(parseSpiffeId(text)), text);
          } catch (error) {
            assert.ok(error instanceof AppError, String(error));
          }
        },
      ),
    );
  });
});

describe("parseServiceAccount", () => {
  it("reads NAMESPACE/NAME", () =>
    assert.deepEqual(parseServiceAccount("photo-ns/photo.frontend"), { namespace: "photo-ns", name: "photo.frontend" }));

  for (const text of ["", "a", "a/", "/a", "a/b/c", "A/b", "a/*", "a /b", "a/b\n"])
    it(`refuses ${JSON.stringify(text)}`, () => refused(() => parseServiceAccount(text)));
});

describe("isSpiffeIdOf", () => {
  it("takes any path of the domain", () => {
    for (const path of ["/x", "/ns/a/sa/b", "/Billing/API_2/v1.0", "/...", "/a/.b"])
      assert.equal(isSpiffeIdOf(`spiffe://west.example${path}`, "west.example"), true, path);
  });

  it("takes no domain without a path, no path that could be read in two ways, and nothing of others", () => {
    for (const path of [
      "",
      "/",
      "//a",
      "/a/",
      "/a//b",
      "/./a",
      "/a/..",
      "/../b",
      "/a%2fb",
      "/a?b",
      "/a#b",
      "/ä",
      "/a:1",
      `/${"a".repeat(2_048)}`,
    ])
      assert.equal(isSpiffeIdOf(`spiffe://west.example${path}`, "west.example"), false, path);
    for (const text of ["spiffe://west.example.evil/x", "https://west.example/x", "SPIFFE://west.example/x", "spiffe://WEST.example/x"])
      assert.equal(isSpiffeIdOf(text, "west.example"), false, text);
  });
});
