/** What the control plane agrees on with whoever calls. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { handshake, TOO_WEAK } from "../fixture/handshakes.ts";
import { Place } from "./place.ts";

describe("the control plane's port", { timeout: 60_000 }, () => {
  const place = new Place({ after });
  let port = 0;
  before(async () => {
    await place.serve();
    port = place.controlPlane().port;
  });

  test("agrees on X25519MLKEM768 with a client that has it, and on a classical group with one that has not", async () => {
    assert.match(await handshake(port), /^TLSv1\.3 TLS_\S+ X25519MLKEM768$/);
    assert.match(await handshake(port, { ecdhCurve: "X25519" }), /^TLSv1\.3 TLS_\S+ X25519$/);
    assert.match(await handshake(port, { ecdhCurve: "P-256", maxVersion: "TLSv1.2" }), /^TLSv1\.2 ECDHE-ECDSA-\S+-GCM-\S+ prime256v1$/);
  });

  for (const [what, options] of Object.entries(TOO_WEAK)) {
    test(`refuses ${what}`, async () => {
      assert.match(await handshake(port, options), /^(ERR_SSL_\S+|ECONNRESET|closed)$/);
    });
  }
});
