import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { describe, test } from "node:test";
import { generateKey, spkiOf } from "./csr-builder.ts";
import { bitString, NULL, sequence, unsignedInteger } from "./der-writer.ts";
import { OID } from "./oids.ts";
import { keyIdentifier, keyKindOf, parsePublicKey } from "./public-key.ts";

const spkiDer = (key: KeyObject) => key.export({ type: "spki", format: "der" });

const bytesOf = (value: bigint) => {
  const text = value.toString(16);
  return Buffer.from(text.padStart(text.length + (text.length % 2), "0"), "hex");
};
const rsaSpki = (modulus: bigint, exponent: bigint) =>
  sequence(
    sequence(OID.rsaEncryption.der, NULL),
    bitString(sequence(unsignedInteger(bytesOf(modulus)), unsignedInteger(bytesOf(exponent)))),
  );
const { n = "" } = generateKeyPairSync("rsa", { modulusLength: 2048 }).publicKey.export({ format: "jwk" });
const MODULUS = BigInt(`0x${Buffer.from(n, "base64url").toString("hex")}`);

describe("parsePublicKey()", () => {
  for (const kind of ["P-256", "P-384", "RSA", "Ed25519"] as const) {
    test(`takes a key of ${kind}`, () => {
      const spki = spkiOf(generateKey(kind));
      assert.deepEqual(spkiDer(parsePublicKey(spki)), Buffer.from(spki));
      assert.equal(keyKindOf(spki).name, kind);
    });
  }

  test("refuses every other kind of key by its name", () => {
    const refused: readonly (readonly [string, Uint8Array])[] = [
      ["RSA of 1024 bits", spkiDer(generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey)],
      ["RSA of 4104 bits", rsaSpki((1n << 4103n) + 1n, 65_537n)],
      ["RSA with an exponent that is not an odd number from 65537 to 2147483647", rsaSpki(MODULUS, 3n)],
      ["RSA with an exponent that is not an odd number from 65537 to 2147483647", rsaSpki(MODULUS, 65_538n)],
      ["RSA with a modulus that has a small factor", rsaSpki(MODULUS * 751n, 65_537n)],
      ["RSA with a modulus that has a small factor", rsaSpki(MODULUS * 2n, 65_537n)],
      ["RSA-PSS", spkiDer(generateKeyPairSync("rsa-pss", { modulusLength: 2048 }).publicKey)],
      ["Ed448", spkiDer(generateKeyPairSync("ed448").publicKey)],
      ["P-521", spkiDer(generateKeyPairSync("ec", { namedCurve: "P-521" }).publicKey)],
      ["secp256k1", spkiDer(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).publicKey)],
      [
        "on a curve given by its parameters",
        spkiDer(generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" }).publicKey),
      ],
    ];
    for (const [name, spki] of refused) {
      assert.throws(() => parsePublicKey(spki), {
        code: "invalid-argument",
        message: `the public key is ${name}; accepted are P-256, P-384, RSA of 2048 to 4096 bits and Ed25519`,
      });
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
