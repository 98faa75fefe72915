/** `garrison ca revoke`: what can be named together, and a key with all its certificates. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { hexOf } from "../../src/x509/hex.ts";
import { keyIdentifier } from "../../src/x509/public-key.ts";
import { requestCertificate } from "./caller.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

describe("garrison ca revoke", { timeout: 240_000 }, () => {
  const place = new Place({ after }, meshFiles(UNUSED_PORTS));
  const revoke = (...args: readonly string[]) => place.run("ca", "revoke", ...args);
  const revoked = async () => (await place.run("ca", "list", "--outcome", "revoked")).stdout;
  const request = async (key = generateKey()) => {
    const token = (await place.run("token", CLIENT)).stdout.trim();
    return requestCertificate(place.controlPlane(), buildCsr(key, CLIENT_IDENTITY), { token });
  };
  /** A certificate of this key. */
  const issued = async (key = generateKey()): Promise<string> => {
    const outcome = await request(key);
    assert.equal(outcome.code, "OK");
    return outcome.code === "OK" ? (outcome.answer[0] ?? "") : "";
  };
  const serialOf = (pem: string) => parseCertificates(pem)[0]?.serial ?? "";

  before(() => place.serve());

  test("refuses what would be read and have no effect, and revokes nothing then", async () => {
    const serial = serialOf(await issued());
    const { exit, stdout, stderr } = await revoke("--serial", serial, "--jwt");
    assert.deepEqual([exit, stdout], [2, ""], stderr);
    assert.equal(await revoked(), "");
  });

  test("of a key revokes all its certificates and no other, and the key gets none any more", async () => {
    const [stolen, good] = [generateKey(), generateKey()];
    const [first, second, other] = [await issued(stolen), await issued(stolen), await issued(good)];
    const file = join(place.folder, "stolen.pem");
    writeFileSync(file, first);
    const { exit, stdout, stderr } = await revoke("--key", file, "--reason", "keyCompromise");
    assert.equal(exit, 0, stderr);
    const [leaf] = parseCertificates(first);
    assert.ok(leaf !== undefined);
    const keyId = hexOf(keyIdentifier(leaf.spki));
    assert.match(stdout, new RegExp(`^2 certificates revoked\n[^]*key ${keyId} gets no certificate from now on\n`));
    const list = await revoked();
    assert.deepEqual(
      [first, second, other].map((pem) => list.includes(serialOf(pem))),
      [true, true, false],
    );
    const refusal = await request(stolen);
    assert.notEqual(refusal.code, "OK");
    assert.equal((await request(good)).code, "OK");
    assert.match((await place.run("ca", "revocations")).stdout, new RegExp(keyId));

    // The ledger tells which key and authority a certificate is of.
    const shown = (await place.run("ca", "show", serialOf(second))).stdout;
    assert.match(shown, new RegExp(`identifier of its key +${keyId}\n`));
    const { stdout: authorities } = await place.run("ca", "authorities", "--json");
    const [{ id }] = (JSON.parse(authorities) as { readonly authorities: readonly [{ readonly id: string }] }).authorities;
    assert.match(shown, new RegExp(`authority +${id}\n`));
  });

  test("of a key by its identifier is the same, and one that is neither is refused", async () => {
    const pem = await issued();
    const [leaf] = parseCertificates(pem);
    assert.ok(leaf !== undefined);
    const { exit, stdout } = await revoke("--key", hexOf(keyIdentifier(leaf.spki)));
    assert.equal(exit, 0);
    assert.match(stdout, new RegExp(`^1 certificate revoked\n {2}${leaf.serial} `));
    assert.equal((await revoke("--key", "no-such-file.pem")).exit, 2);
  });
});
