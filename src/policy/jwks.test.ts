import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ALGORITHMS, SigningKey } from "../../test/fixture/tokens.ts";
import { AppError } from "../core/error.ts";
import { algorithmsOf, readJwks } from "./jwks.ts";

const EC = new SigningKey("k", "ES256");
const RSA = new SigningKey("r", "RS256");

function read(...keys: readonly unknown[]) {
  return readJwks(JSON.stringify({ keys }));
}

describe("reading a key set", () => {
  for (const algorithm of ALGORITHMS) {
    it(`takes a key for ${algorithm}`, () => {
      const { keys, dropped } = read(new SigningKey("k", algorithm).jwk({ alg: algorithm, use: "sig", x5c: ["x"] }));
      assert.deepEqual(dropped, []);
      assert.deepEqual(keys.map(algorithmsOf), [[algorithm]]);
    });
  }

  it("keeps nothing but the public members", () => {
    const [key] = read(EC.jwk({ use: "sig", x5t: "y", other: 1 })).keys;
    assert.deepEqual(Object.keys(key ?? {}).sort(), ["alg", "crv", "kid", "kty", "x", "y"]);
  });

  it("writes down the only algorithm of a curve, and leaves RSA its six", () => {
    const [ec, rsa] = read(EC.jwk(), RSA.jwk()).keys;
    assert.equal(ec?.alg, "ES256");
    assert.equal(rsa?.alg, undefined);
    assert.equal(rsa && algorithmsOf(rsa).length, 6);
  });

  const dropped: readonly (readonly [string, unknown, RegExp])[] = [
    ["with a private half (CVE-2026-31837)", EC.jwk({}, true), /contains its private half/],
    ["with an empty private half", EC.jwk({ d: "" }), /contains its private half/],
    ["that is symmetric", { kty: "oct", k: "c2VjcmV0" }, /is symmetric/],
    ["that hides a secret in a public type", EC.jwk({ k: "c2VjcmV0" }), /is symmetric/],
    ["for encryption", EC.jwk({ use: "enc" }), /is not for signatures/],
    ["for signing only", EC.jwk({ key_ops: ["sign"] }), /is not for verifying/],
    ["of 1024 bits", RSA.jwk({ n: "A".repeat(171) }), /is not RSA of 2048/],
    ["of 16384 bits", RSA.jwk({ n: "A".repeat(2731) }), /is not RSA of 2048/],
    ["on another curve", EC.jwk({ crv: "secp256k1" }), /is not RSA of 2048/],
    ["with a coordinate too short", EC.jwk({ x: "AAAA" }), /is not RSA of 2048/],
    ["with HMAC as the algorithm of a public key", RSA.jwk({ alg: "HS256" }), /`alg` that does not fit/],
    ["with an algorithm of another curve", EC.jwk({ alg: "ES384" }), /`alg` that does not fit/],
    ["whose kid is a number", EC.jwk({ kid: 5 }), /a `kid` or `alg` that is not a short text/],
    ["that is no object", "x", /is not an object/],
    ["that is null", null, /is not an object/],
  ];
  for (const [what, key, why] of dropped) {
    it(`leaves out a key ${what}, and the others in`, () => {
      const result = read(key, EC.jwk());
      assert.equal(result.keys.length, 1);
      assert.match(result.dropped.join(), why);
      assert.match(result.dropped.join(), /^keys\[0\] /);
    });
  }

  for (const text of ["", "x", "[]", "null", "{}", '{"keys": {}}', "<html>secret</html>"]) {
    it(`refuses \`${text}\` without quoting it`, () => {
      assert.throws(
        () => readJwks(text),
        (error) => error instanceof AppError && error.code === "invalid-argument" && error.message === "this is not a JSON Web Key Set",
      );
    });
  }

  it("refuses more keys than anybody rotates through", () => {
    assert.throws(() => read(...Array.from({ length: 101 }, () => EC.jwk())), /more than 100 keys/);
  });
});
