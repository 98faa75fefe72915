/** `garrison ca revoke`: what can be named together, and a key with all its certificates. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
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

  test("of a key by the key itself, where no certificate of it is at hand; it goes nowhere", async () => {
    const stolen = generateKey();
    const pem = await issued(stolen);
    const file = join(place.folder, "key.pem");
    writeFileSync(file, stolen.export({ type: "pkcs8", format: "pem" }));
    const { exit, stdout, stderr } = await revoke("--key", file);
    assert.equal(exit, 0, stderr);
    assert.match(stdout, new RegExp(`^1 certificate revoked\n {2}${serialOf(pem)} `));
    writeFileSync(file, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n");
    const unread = await revoke("--key", file);
    assert.deepEqual([unread.exit, unread.stdout], [2, ""]);
    assert.match(unread.stderr, /key\.pem: the key in it cannot be read\n/);
    assert.ok(!unread.stderr.includes("c2VjcmV0"));
  });

  test("of the CA's own key is refused with what replaces it, as it would protect from nothing", async () => {
    const { rootCertificate } = place.controlPlane();
    const { exit, stdout, stderr } = await revoke("--key", rootCertificate);
    assert.deepEqual([exit, stdout], [2, ""]);
    assert.match(stderr, /the key [0-9a-f]{40} is a CA's and no workload's: nothing was revoked\n.*`garrison ca prepare`/);
    const [root] = parseCertificates(readFileSync(rootCertificate, "utf8"));
    assert.ok(root !== undefined);
    assert.ok(!(await place.run("ca", "revocations")).stdout.includes(hexOf(keyIdentifier(root.spki))));
  });

  test("of what is revoked already says since when and why, and changes neither", async () => {
    const serial = serialOf(await issued());
    assert.equal((await revoke("--serial", serial, "--reason", "keyCompromise")).exit, 0);
    const again = await revoke("--serial", serial, "--reason", "superseded");
    assert.equal(again.exit, 0, again.stderr);
    assert.match(again.stdout, /^0 certificates revoked\nit was revoked already, at \d{4}-\S+Z: keyCompromise\n/);
    const { before, revoked: now } = JSON.parse((await revoke("--serial", serial, "--json")).stdout) as {
      readonly before: { readonly serial: string; readonly reason: string };
      readonly revoked: readonly unknown[];
    };
    assert.deepEqual([before.serial, before.reason, now], [serial, "keyCompromise", []]);
  });
});
