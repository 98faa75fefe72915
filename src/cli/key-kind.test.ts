import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { keySpecOfEnvironment } from "./key-kind.ts";

describe("the environment of Istio's agent", () => {
  for (const [env, spec] of [
    [{}, undefined],
    [{ ECC_SIGNATURE_ALGORITHM: "ECDSA" }, "P-256"],
    [{ ECC_SIGNATURE_ALGORITHM: "ECDSA", ECC_CURVE: "P256" }, "P-256"],
    [{ ECC_SIGNATURE_ALGORITHM: "ECDSA", ECC_CURVE: "P384" }, "P-384"],
    [{ ECC_CURVE: "P384" }, undefined],
    [{ ECC_CURVE: "P521" }, undefined],
    [{ ECC_CURVE: "P384", WORKLOAD_RSA_KEY_SIZE: "2048" }, "RSA-2048"],
    [{ WORKLOAD_RSA_KEY_SIZE: "2048" }, "RSA-2048"],
    [{ WORKLOAD_RSA_KEY_SIZE: "4096" }, "RSA-4096"],
    [{ ECC_SIGNATURE_ALGORITHM: "ECDSA", WORKLOAD_RSA_KEY_SIZE: "4096" }, "P-256"],
  ] as const)
    test(`${JSON.stringify(env)} is ${spec ?? "no word of it"}`, () => {
      assert.equal(keySpecOfEnvironment(env), spec);
    });

  for (const env of [
    { ECC_SIGNATURE_ALGORITHM: "EDDSA" },
    { ECC_SIGNATURE_ALGORITHM: "ECDSA", ECC_CURVE: "P521" },
    { WORKLOAD_RSA_KEY_SIZE: "1024" },
    { WORKLOAD_RSA_KEY_SIZE: "8192" },
  ])
    test(`${JSON.stringify(env)} is refused, as no key here is such`, () => {
      assert.throws(() => keySpecOfEnvironment(env), { code: "invalid-argument" });
    });
});
