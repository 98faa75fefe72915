import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { issuersOf } from "../../../test/fixture/outside-issuers.ts";
import { SigningKey } from "../../../test/fixture/tokens.ts";
import { AppError } from "../../core/error.ts";
import { parseServiceAccount } from "../../identity/spiffe-id.ts";
import { accountOf, type Claims } from "./account-mapping.ts";

const JWKS = JSON.stringify({ keys: [new SigningKey("a").jwk()] });

/** The account of claims under entries as the operator writes them. */
function map(claims: Claims, ...accounts: readonly unknown[]): string {
  const [issuer] = issuersOf({ name: "a", kind: "oidc", issuer: "https://a", audiences: ["x"], jwks: JWKS, accounts });
  assert.equal(issuer?.kind, "oidc");
  const { namespace, name } = accountOf(issuer.accounts, claims);
  return `${namespace}/${name}`;
}

function refused(claims: Claims, ...accounts: readonly unknown[]): void {
  assert.throws(
    () => map(claims, ...accounts),
    (error) => error instanceof AppError && error.code === "unauthenticated",
  );
}

describe("accountOf", () => {
  it("takes the first entry of which all conditions hold", () => {
    const accounts = [
      { when: { repository: "acme/photo", ref: "refs/heads/main" }, account: "photo/deploy" },
      { when: { repository: "acme/photo" }, account: "photo/test" },
    ];
    assert.equal(map({ repository: "acme/photo", ref: "refs/heads/main" }, ...accounts), "photo/deploy");
    assert.equal(map({ repository: "acme/photo", ref: "refs/heads/x" }, ...accounts), "photo/test");
    refused({ repository: "acme/photo-evil", ref: "refs/heads/main" }, ...accounts);
    refused({}, ...accounts);
  });

  it("compares exactly: neither case, nor type, nor a part, nor an inherited name will do", () => {
    refused({ a: "X" }, { when: { a: "x" }, account: "s/w" });
    refused({ a: "1" }, { when: { a: 1 }, account: "s/w" });
    refused({ a: "true" }, { when: { a: true }, account: "s/w" });
    refused({ a: "xy" }, { when: { a: "x" }, account: "s/w" });
    refused({ a: "y" }, { when: { a: "*" }, account: "s/w" });
    refused({ a: { b: "x" } }, { when: { a: "x" }, account: "s/w" });
    refused({}, { when: { a: { constructor: "x" } }, account: "s/w" });
    assert.equal(map({ a: true, b: 1 }, { when: { a: true, b: [2, 1] }, account: "s/w" }), "s/w");
  });

  it("reads claims within claims, and lists of which one element counts", () => {
    const entry = { when: { org: { unit: "ops" }, groups: ["admins", "owners"] }, account: "s/w" };
    assert.equal(map({ org: { unit: "ops" }, groups: ["users", "owners"] }, entry), "s/w");
    refused({ org: { unit: ["dev"] }, groups: ["owners"] }, entry);
    refused({ org: [{ unit: "ops" }], groups: ["owners"] }, entry);
    refused({ "org.unit": "ops", groups: ["owners"] }, entry);
  });

  it("puts a claim whole into a name, and refuses what is no name then", () => {
    const entry = { when: { iss: "a" }, account: "team-{team}/{runner[name]}" };
    assert.equal(map({ iss: "a", team: "red", runner: { name: "ci" } }, entry), "team-red/ci");
    for (const team of ["", "Red", "a/b", "a b", "..", "a.b", "red\n", "é", "a".repeat(64), 1, null, ["red"], undefined])
      refused({ iss: "a", team, runner: { name: "ci" } }, entry);
    for (const name of ["", "a/sa/b", "../x", "a:b", "%2f", "a".repeat(254)]) refused({ iss: "a", team: "red", runner: { name } }, entry);
    refused({ iss: "a", team: "red", runner: "ci" }, entry);
  });

  it("makes names of service accounts or refuses, whatever the claims are", () => {
    const entry = { when: { iss: "a" }, account: "{team}/{name}" };
    fc.assert(
      fc.property(fc.anything(), fc.anything(), (team, name) => {
        try {
          const account = map({ iss: "a", team, name }, entry);
          assert.equal(account, `${parseServiceAccount(account).namespace}/${parseServiceAccount(account).name}`);
        } catch (error) {
          assert.ok(error instanceof AppError && error.code === "unauthenticated", String(error));
        }
      }),
    );
  });
});
