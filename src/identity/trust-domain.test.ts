import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AppError } from "../core/error.ts";
import { DEFAULT_TRUST_DOMAIN, parseTrustDomain } from "./trust-domain.ts";

describe("parseTrustDomain", () => {
  for (const text of ["cluster.local", "a", "example.org", "a_b-c.d", "1", "a".repeat(255)]) {
    it(`takes \`${text.slice(0, 20)}\` (${text.length} characters)`, () => assert.equal(parseTrustDomain(text), text));
  }

  it("takes Istio's default", () => assert.equal(parseTrustDomain(DEFAULT_TRUST_DOMAIN), "cluster.local"));

  // SPIFFE-ID §2.1: no upper case, no port, no user, no escapes, at most 255 bytes.
  for (const text of ["", "Cluster.Local", "a/b", "a:80", "user@a", "a%2e", "spiffe://a", "a b", "é", "a\n", "a\0", "*", "a".repeat(256)]) {
    it(`refuses ${JSON.stringify(text.slice(0, 20))} (${text.length} characters)`, () => {
      assert.throws(
        () => parseTrustDomain(text),
        (error) => error instanceof AppError && error.code === "invalid-argument" && error.help !== undefined && error.message.length < 400,
      );
    });
  }
});
