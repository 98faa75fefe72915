import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { describe, test } from "node:test";
import { generateKey, spkiOf } from "./csr-builder.ts";
import { keyIdentifier, parsePublicKey } from "./public-key.ts";

const spkiDer = (key: KeyObject) => key.export({ type: "spki", format: "der" });

describe("parsePublicKey()", () => {
  test("takes a P-256 key", () => {
    const spki = spkiOf(generateKey());
    assert.deepEqual(spkiDer(parsePublicKey(spki)), Buffer.from(spki));
  });

  test("refuses every other kind of key by its name", () => {
    const refused: readonly (readonly [string, Uint8Array])[] = [
      ["RSA", spkiDer(generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey)],
      ["P-384", spkiDer(generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey)],
      ["P-521", spkiDer(generateKeyPairSync("ec", { namedCurve: "P-521" }).publicKey)],
      ["secp256k1", spkiDer(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey)],
      ["Ed25519", spkiDer(generateKeyPairSync("ed25519").publicKey)],
      [
        "on a curve given by its parameters",
        spkiDer(generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" }).publicKey),
      ],
    ];
    for (const [name, spki] of refused) {
      assert.throws(() => parsePublicKey(spki), { code: "invalid-argument", message: `the public key is ${name}; only P-256 is accepted` });
    }
  });

  test("refuses a point that is not on the curve and a compressed point", () => {
    const spki = Buffer.from(spkiOf(generateKey()));
    spki.fill(1, 27);
    assert.throws(() => parsePublicKey(spki), { code: "invalid-argument", message: "the public key is not a point of P-256" });
    const compressed = Buffer.concat([Buffer.from("3039301306072a8648ce3d020106082a8648ce3d03010703220002", "hex"), Buffer.alloc(32, 1)]);
    assert.throws(() => parsePublicKey(compressed), { code: "invalid-argument", message: /not an uncompressed point/ });
  });
});

test("keyIdentifier() has 160 bits and tells keys apart", () => {
  const [a, b] = [keyIdentifier(spkiOf(generateKey())), keyIdentifier(spkiOf(generateKey()))];
  assert.equal(a.length, 20);
  assert.notDeepEqual(a, b);
});
