import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CA_KEY_SPECS, LEAF_KEY_SPECS, makeKey, makeKeyAside, parseKeySpec } from "./key-spec.ts";

const detailsOf = ({ asymmetricKeyType, asymmetricKeyDetails }: ReturnType<typeof makeKey>) =>
  asymmetricKeyDetails?.namedCurve ?? asymmetricKeyDetails?.modulusLength ?? asymmetricKeyType;

describe("a kind of key", () => {
  const made = { "P-256": "prime256v1", "P-384": "secp384r1", "RSA-2048": 2048, "RSA-3072": 3072, "RSA-4096": 4096, Ed25519: "ed25519" };
  for (const spec of CA_KEY_SPECS)
    test(`of ${spec} is what is made`, async () => {
      assert.equal(detailsOf(makeKey(spec)), made[spec]);
      assert.equal(detailsOf(await makeKeyAside(spec)), made[spec]);
    });

  test("is read in any case, and anything else is refused with what there is", () => {
    assert.equal(parseKeySpec("`--x`", "p-384", LEAF_KEY_SPECS), "P-384");
    assert.equal(parseKeySpec("`--x`", "ed25519", CA_KEY_SPECS), "Ed25519");
    for (const text of ["", "P-521", "RSA", "RSA-1024"])
      assert.throws(() => parseKeySpec("`--x`", text, CA_KEY_SPECS), {
        code: "invalid-argument",
        message: /^`--x`: .* is not a kind of key$/,
      });
  });

  test("of Ed25519 is none for a workload, and why", () => {
    assert.throws(() => parseKeySpec("`--x`", "Ed25519", LEAF_KEY_SPECS), { code: "invalid-argument", help: /Envoy takes no Ed25519/ });
  });
});
