import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import type { CertificateRecord } from "./ledger-database.ts";
import { Revocations } from "./revocations.ts";

const NOW = Date.UTC(2026, 0, 2);
const HOUR = 3600 * 1000;
const DAY = 24 * HOUR;
const WEB = "spiffe://cluster.local/ns/photo/sa/web";

function certificate(serial: string, notAfter = NOW + DAY): CertificateRecord {
  const sha256 = serial.padStart(64, "0");
  return { serial, identity: WEB, caller: "token", notBefore: NOW, notAfter, state: "issued", recordedAt: NOW, sha256, leaf: 0 };
}

test("what is revoked is so after a restart, with its first time and reason", (t) => {
  const path = join(tempFolder(t), "revocations.sqlite");
  const first = new Revocations(path);
  assert.equal(first.revoke([certificate("4a01")], "keyCompromise", NOW).length, 1);
  assert.equal(first.revoke([certificate("4a01")], "superseded", NOW + 5).length, 0);
  first.close();
  const second = new Revocations(path);
  t.after(() => second.close());
  assert.ok(second.isRevoked("4a01"));
  assert.equal(second.isRevoked("4a02"), false);
  assert.deepEqual(
    second.certificates(NOW).map(({ serial, reason, revokedAt }) => [serial, reason, revokedAt]),
    [["4a01", "keyCompromise", NOW]],
  );
});

test("certificates that have expired are told on for an hour, as their verifiers' clocks may be behind, and then no more", (t) => {
  const path = join(tempFolder(t), "revocations.sqlite");
  const revocations = new Revocations(path);
  t.after(() => revocations.close());
  revocations.revoke([certificate("01", NOW + 10), certificate("02")], "unspecified", NOW);
  const told = (now: number) => [
    revocations.forProxies(now).certificates.map((digest) => digest.slice(-2)),
    revocations.listed(now).length,
  ];
  assert.deepEqual(told(NOW + 10 + HOUR), [["01", "02"], 2]);
  assert.deepEqual(told(NOW + 11 + HOUR), [["02"], 1]);
  assert.equal(revocations.certificates(NOW + 11).length, 1);
});

test("a start forgets nothing, as the clock may not be set yet, nor does its first revocation what is of the last day", (t) => {
  const path = join(tempFolder(t), "revocations.sqlite");
  const revocations = new Revocations(path);
  revocations.revoke([certificate("01", NOW + 10), certificate("02")], "unspecified", NOW);
  revocations.close();
  const later = new Revocations(path);
  t.after(() => later.close());
  later.revoke([certificate("03")], "unspecified", NOW + DAY);
  assert.deepEqual(
    ["01", "02", "03"].filter((serial) => later.isRevoked(serial)),
    ["01", "02", "03"],
  );
});

test("certificates that have long expired are forgotten with the next that is revoked here or elsewhere, so that a long run does not gather them", (t) => {
  const revocations = new Revocations(join(tempFolder(t), "revocations.sqlite"));
  t.after(() => revocations.close());
  const known = () => ["01", "02", "03", "04"].filter((serial) => revocations.isRevoked(serial));
  revocations.revoke([certificate("01"), certificate("02", NOW + 3 * DAY)], "unspecified", NOW);
  revocations.revoke([certificate("03", NOW + 9 * DAY)], "unspecified", NOW + 2 * DAY);
  assert.deepEqual(known(), ["01", "02", "03"]);
  const [other] = revocations.certificates(NOW + 8 * DAY);
  assert.ok(other);
  revocations.adopt([{ ...other, serial: "04" }], [], NOW + 2 * DAY + 1);
  assert.deepEqual(known(), ["02", "03", "04"]);
  revocations.revoke([], "unspecified", NOW + 5 * DAY);
  assert.deepEqual(known(), ["03", "04"]);
});

test("a blocked identity gets nothing until it is unblocked, a blocked key never", (t) => {
  const revocations = new Revocations(join(tempFolder(t), "revocations.sqlite"));
  t.after(() => revocations.close());
  const key = "ab".repeat(20);
  revocations.revoke([], "unspecified", NOW, { kind: "identity", value: WEB });
  revocations.revoke([], "keyCompromise", NOW, { kind: "key", value: key });
  assert.throws(() => revocations.checkIssuance(WEB, "00"), { code: "permission-denied", message: /identity .* is revoked/ });
  assert.throws(() => revocations.checkIssuance("spiffe://cluster.local/ns/a/sa/b", key), {
    code: "permission-denied",
    message: /key is revoked/,
  });
  assert.deepEqual([...revocations.forProxies(NOW).identities], [WEB]);
  assert.equal(revocations.unblock(WEB), true);
  assert.equal(revocations.unblock(WEB), false);
  revocations.checkIssuance(WEB, "00");
});

test("listeners are told of each change, and numbers of lists never come twice", (t) => {
  const path = join(tempFolder(t), "revocations.sqlite");
  const first = new Revocations(path);
  let told = 0;
  first.onChange(() => {
    told += 1;
  });
  first.revoke([certificate("01")], "unspecified", NOW);
  first.revoke([], "unspecified", NOW, { kind: "identity", value: WEB });
  first.unblock(WEB);
  assert.equal(told, 3);
  const numbers = [first.nextListNumber(), first.nextListNumber()];
  first.close();
  const second = new Revocations(path);
  t.after(() => second.close());
  assert.deepEqual([...numbers, second.nextListNumber()], [1, 2, 3]);
});

test("a file that is none of its own is refused: without it what is revoked would be good again", (t) => {
  const path = join(tempFolder(t), "revocations.sqlite");
  writeFileSync(path, "not a database at all, but long enough to be read as one".repeat(100));
  assert.throws(() => new Revocations(path), { code: "invalid-configuration" });
});

test("the time of the last revocation stays when that certificate has expired, and differs for each", (t) => {
  const path = join(tempFolder(t), "revocations.sqlite");
  const revocations = new Revocations(path);
  assert.equal(revocations.forProxies(NOW).last, undefined);
  revocations.revoke([], "unspecified", NOW, { kind: "identity", value: WEB });
  assert.equal(revocations.forProxies(NOW).last, undefined);
  revocations.revoke([certificate("01", NOW + 10)], "unspecified", NOW);
  assert.equal(revocations.forProxies(NOW).last, NOW);
  revocations.revoke([certificate("01", NOW + 10)], "unspecified", NOW + 3);
  assert.equal(revocations.forProxies(NOW).last, NOW);
  revocations.revoke([certificate("02", NOW + 10)], "unspecified", NOW);
  assert.equal(revocations.forProxies(NOW).last, NOW + 1);
  revocations.close();
  const later = new Revocations(path);
  t.after(() => later.close());
  assert.deepEqual([later.forProxies(NOW + DAY).certificates, later.forProxies(NOW + DAY).last], [[], NOW + 1]);
});
