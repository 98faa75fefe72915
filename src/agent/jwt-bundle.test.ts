import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { describe, it } from "node:test";
import { SignJWT } from "jose";
import { generateKey } from "../x509/csr-builder.ts";
import { type JwtKeys, parseJwtBundle, parseJwtKeys, validateJwtSvid } from "./jwt-bundle.ts";

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

const validate = (text: string) => validateJwtSvid(text, bundle.keys, { audience: "vault", trustDomain: "cluster.local", now: NOW });

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
    ["a subject that is no SPIFFE ID", token({ ...CLAIMS, sub: "spiffe://cluster.local/ns/../x" }), /not a SPIFFE ID/],
    ["another's signature", token(CLAIMS, HEADER, generateKey()), /signature/],
    ["other claims than those that were signed", `${first}.${encode({ ...CLAIMS, sub: `${SUBJECT}2` })}.${third}`, /signature/],
    ["a key that nobody knows", token(CLAIMS, { ...HEADER, kid: "two" }), /no key/],
    ["no key's name", token(CLAIMS, { alg: "ES256" }), /names no key/],
    ["no signature", `${encode({ alg: "none", kid: "one" })}.${second}.`, /not a JWT/],
    ["the algorithm none", `${encode({ alg: "none", kid: "one" })}.${second}.${third}`, /its algorithm is none/],
    ["a symmetric algorithm", `${encode({ alg: "HS256", kid: "one" })}.${second}.${third}`, /its algorithm is none/],
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

const rsa = generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey;
const curve = (namedCurve: string) => generateKeyPairSync("ec", { namedCurve }).privateKey;
const [p256, p384, p521] = [curve("P-256"), curve("P-384"), curve("P-521")];
const ALGORITHMS: readonly (readonly [alg: string, key: KeyObject])[] = [
  ["RS256", rsa],
  ["RS384", rsa],
  ["RS512", rsa],
  ["PS256", rsa],
  ["PS384", rsa],
  ["PS512", rsa],
  ["ES256", p256],
  ["ES384", p384],
  ["ES512", p521],
];
/** Of a domain whose identities have paths of their own. */
const FOREIGN = { sub: "spiffe://west.example/billing/API", aud: ["vault"], exp: NOW / 1000 + 300 };

/** By another implementation than the one that is tested. */
const joseToken = (alg: string, key: KeyObject) => new SignJWT(FOREIGN).setProtectedHeader({ alg, kid: "one" }).sign(key);
const keysOf = (...keys: readonly object[]) => parseJwtKeys(JSON.stringify({ keys }));
const foreign = (text: string, keys: JwtKeys) => validateJwtSvid(text, keys, { audience: "vault", trustDomain: "west.example", now: NOW });

describe("a JWT-SVID of another domain", () => {
  for (const [alg, signer] of ALGORITHMS)
    it(`is good with ${alg}, and not with another key, another hash or a changed claim`, async () => {
      const text = await joseToken(alg, signer);
      assert.equal(foreign(text, keysOf(jwk(signer, "one"))).identity, FOREIGN.sub);
      assert.equal(foreign(text, keysOf({ ...jwk(signer, "one"), alg })).identity, FOREIGN.sub);
      const { asymmetricKeyType: type, asymmetricKeyDetails: { namedCurve = "" } = {} } = signer;
      const stranger = type === "rsa" ? generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey : curve(namedCurve);
      assert.throws(() => foreign(text, keysOf(jwk(stranger, "one"))), { message: /signature is wrong/ });
      const [head = "", claims = "", signature = ""] = text.split(".");
      const relabelled = encode({ alg: `${alg.slice(0, 2)}${alg.endsWith("256") ? "384" : "256"}`, kid: "one" });
      assert.throws(() => foreign(`${relabelled}.${claims}.${signature}`, keysOf(jwk(signer, "one"))), { code: "invalid-argument" });
      const other = encode({ ...FOREIGN, sub: "spiffe://west.example/admin" });
      assert.throws(() => foreign(`${head}.${other}.${signature}`, keysOf(jwk(signer, "one"))), { message: /signature is wrong/ });
    });

  it("is signed by the algorithm that its key is for, not by one that the token chooses", async () => {
    const cases: readonly (readonly [token: string, key: object])[] = [
      [await joseToken("RS256", rsa), jwk(p256, "one")],
      [await joseToken("ES256", p256), jwk(p384, "one")],
      [await joseToken("ES256", p256), jwk(rsa, "one")],
      [await joseToken("RS256", rsa), { ...jwk(rsa, "one"), alg: "PS256" }],
    ];
    for (const [text, key] of cases) assert.throws(() => foreign(text, keysOf(key)), { message: /its algorithm is not the key's/ });
  });

  it("is of the domain whose keys verify it", async () => {
    const text = await joseToken("ES256", p256);
    const options = { audience: "vault", trustDomain: "south.example", now: NOW };
    assert.throws(() => validateJwtSvid(text, keysOf(jwk(p256, "one")), options), { message: /not of the trust domain/ });
  });

  it("is verified by no key of a kind or a length that JWT-SVIDs have not", () => {
    const weak = generateKeyPairSync("rsa", { modulusLength: 1_024 }).privateKey;
    const odd = [weak, curve("secp256k1"), generateKeyPairSync("ed25519").privateKey].map((signer, index) => jwk(signer, `odd-${index}`));
    const symmetric = { kty: "oct", k: "c2VjcmV0", use: "jwt-svid", kid: "symmetric" };
    assert.deepEqual([...keysOf(...odd, symmetric, { ...jwk(p256, "one"), x: "AA" }, jwk(rsa, "good")).keys()], ["good"]);
  });
});
