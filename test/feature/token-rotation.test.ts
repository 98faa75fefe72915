/** The key that signs service-account tokens is replaced while tokens of it are on their way. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { requestCertificate } from "./caller.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

describe("garrison token rotate", { timeout: 180_000 }, () => {
  const place = new Place({ after }, meshFiles(UNUSED_PORTS));
  const token = async () => (await place.run("token", CLIENT)).stdout.trim();
  const outcome = async (bearer: string) =>
    (await requestCertificate(place.controlPlane(), buildCsr(generateKey(), CLIENT_IDENTITY), { token: bearer })).code;
  before(() => place.serve());

  test("lets a new key sign; what was made before is good, until it is revoked", async () => {
    const first = await token();
    const rotated = await place.run("token", "rotate");
    assert.equal(rotated.exit, 0, rotated.stderr);
    assert.match(
      rotated.stdout,
      /^key \S+ signs service-account tokens from now on\ntokens of the key before it are good until they expire, by \S+Z at the latest\n$/,
    );
    const second = await token();
    assert.deepEqual([await outcome(first), await outcome(second)], ["OK", "OK"]);
    const revoked = await place.run("token", "rotate", "--revoke");
    assert.equal(revoked.exit, 0, revoked.stderr);
    assert.match(revoked.stdout, /tokens of the 2 keys before it are refused\n$/);
    assert.deepEqual([await outcome(first), await outcome(second)], ["UNAUTHENTICATED", "UNAUTHENTICATED"]);
    assert.equal(await outcome(await token()), "OK");
  });
});
