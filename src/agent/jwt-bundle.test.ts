import assert from "node:assert/strict";
import { type KeyObject, sign } from "node:crypto";
import { describe, it } from "node:test";
import { generateKey } from "../x509/csr-builder.ts";
import { parseJwtBundle, validateJwtSvid } from "./jwt-bundle.ts";

const NOW = Date.UTC(2026, 0, 1);
const SUBJECT = "spiffe://cluster.local/ns/photo-ns/sa/frontend";
const key = generateKey();
const jwk = (privateKey: KeyObject, kid: string, use = "jwt-svid") => {
  const { d: _, ...half } = privateKey.export({ format: "jwk" });
  return { ...half, kid, use };
};
const bundle = parseJwtBundle(JSON.stringify({ keys: [jwk(key, "one")], spiffe_refresh_hint: 60 }));
const encode = (value: unknown) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

const CLAIMS = { sub: SUBJECT, aud: ["vault"], exp: NOW / 1000 + 300 };
const HEADER = { alg: "ES256", kid: "one", typ: "JWT" };

function token(claims: unknown = CLAIMS, header: unknown = HEADER, signer = key): string {
  const signed = `${encode(header)}.${encode(claims)}`;
  return `${signed}.${sign("sha256", Buffer.from(signed), { key: signer, dsaEncoding: "ieee-p1363" }).toString("base64url")}`;
}

const validate = (text: string) => validateJwtSvid(text, bundle, { audience: "vault", trustDomain: "cluster.local", now: NOW });

describe("validating a JWT-SVID", () => {
  it("tells whose it is, with its claims", () => {
    const claims = { ...CLAIMS, aud: "vault", nbf: NOW / 1000 + 5, more: [1, null, { a: true }] };
    assert.deepEqual(validate(token(claims)), { identity: SUBJECT, claims });
  });

  const [first, second, third] = token().split(".");
  const cases: readonly (readonly [what: string, token: string, reason: RegExp])[] = [
    ["another audience", token({ ...CLAIMS, aud: ["vaults", "db"] }), /another audience/],
    ["no audience", token({ ...CLAIMS, aud: undefined }), /another audience/],
    ["an audience that only looks like it", token({ ...CLAIMS, aud: { vault: "vault" } }), /another audience/],
    ["an end that has passed", token({ ...CLAIMS, exp: NOW / 1000 - 10 }), /expired/],
    ["no end", token({ ...CLAIMS, exp: undefined }), /expired/],
    ["an end that is no number", token({ ...CLAIMS, exp: "9999999999" }), /expired/],
    ["a beginning that has not come", token({ ...CLAIMS, nbf: NOW / 1000 + 60 }), /not valid yet/],
    ["another trust domain", token({ ...CLAIMS, sub: "spiffe://other.org/ns/photo-ns/sa/frontend" }), /trust domain/],
    ["a trust domain with a longer name", token({ ...CLAIMS, sub: "spiffe://cluster.local.evil/ns/a/sa/b" }), /trust domain/],
    ["no subject", token({ ...CLAIMS, sub: undefined }), /trust domain/],
    ["a subject that is no workload", token({ ...CLAIMS, sub: "spiffe://cluster.local/x" }), /not a workload/],
    ["another's signature", token(CLAIMS, HEADER, generateKey()), /signature/],
    ["other claims than those that were signed", `${first}.${encode({ ...CLAIMS, sub: `${SUBJECT}2` })}.${third}`, /signature/],
    ["a key that nobody knows", token(CLAIMS, { ...HEADER, kid: "two" }), /no key/],
    ["no key's name", token(CLAIMS, { alg: "ES256" }), /names no key/],
    ["no signature", `${encode({ alg: "none", kid: "one" })}.${second}.`, /not a JWT/],
    ["the algorithm none", `${encode({ alg: "none", kid: "one" })}.${second}.${third}`, /ES256/],
    ["a symmetric algorithm", `${encode({ alg: "HS256", kid: "one" })}.${second}.${third}`, /ES256/],
    ["another type", token(CLAIMS, { ...HEADER, typ: "at+jwt" }), /type/],
    ["extensions that must be understood", token(CLAIMS, { ...HEADER, crit: ["b64"] }), /extensions/],
    ["claims that are no object", token("[]"), /not a JWT/],
    ["a header that is no JSON", `${encode("{")}.${second}.${third}`, /not a JWT/],
    ["too much", `${first}.${"A".repeat(17_000)}.${third}`, /not a JWT/],
    ["nothing", "", /not a JWT/],
  ];
  for (const [what, text, reason] of cases) {
    it(`refuses ${what}`, () => {
      assert.throws(() => validate(text), { code: "invalid-argument", message: reason });
    });
  }

  it("takes no key that is for something else, and no bundle without keys", () => {
    const other = generateKey();
    const { keys, refreshMs } = parseJwtBundle(JSON.stringify({ keys: [jwk(other, "x", "x509-svid"), null, {}, jwk(key, "one")] }));
    assert.deepEqual([[...keys.keys()], refreshMs], [["one"], 300_000]);
    for (const text of ["", "[]", "{}", '{"keys":[]}', JSON.stringify({ keys: [jwk(other, "x", "sig")] })])
      assert.throws(() => parseJwtBundle(text), { code: "permission-denied" });
  });
});
