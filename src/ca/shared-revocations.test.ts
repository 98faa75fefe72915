import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { silentLogger } from "../core/logger.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import { openAuthority } from "./authority.ts";
import { revoke } from "./revoke.ts";
import { SharedRevocations } from "./shared-revocations.ts";

const WEB = "spiffe://cluster.local/ns/photo/sa/web";
const EMPTY = '{"certificates":[],"blocks":[]}';

/** A replica with its own record; time goes on with each question. */
function replica(t: TestContext, aheadMs = 0) {
  let now = Date.UTC(2026, 0, 2) + aheadMs;
  const clock = { now: () => (now += 1000) };
  const authority = openAuthority({ stateFolder: tempFolder(t), trustDomain: DEFAULT_TRUST_DOMAIN, clock, logger: silentLogger });
  t.after(() => authority.close());
  const shared = new SharedRevocations(authority, () => clock.now());
  const issue = () => {
    const csr = buildCsr(generateKey(), WEB);
    return authority.issue({ csr, identity: parseSpiffeId(WEB), ttlSeconds: 3600, caller: "test" });
  };
  const pass = (milliseconds: number) => {
    now += milliseconds;
  };
  return { authority, shared, issue, clock, pass };
}

/** Lets replicas take and add to one document until nobody wants another. */
function settle(document: string, ...shared: readonly SharedRevocations[]): string {
  for (let round = 0; round < 5; round += 1) {
    for (const each of shared) {
      each.take(document);
      document = each.wanted(document) ?? document;
    }
  }
  for (const each of shared) assert.equal(each.wanted(document), undefined);
  return document;
}

test("a certificate that one replica revokes is revoked at the other, with its time and reason", async (t) => {
  const [a, b] = [replica(t), replica(t)];
  const { serial } = await a.issue();
  a.authority.ledger.flush();
  revoke(a.authority, { kind: "serial", value: serial, reason: "keyCompromise" }, a.clock.now());
  settle(EMPTY, a.shared, b.shared);
  const at = (authority: typeof a.authority) => authority.revocations.certificates(a.clock.now());
  assert.ok(b.authority.revocations.isRevoked(serial));
  assert.deepEqual(at(b.authority), at(a.authority));
});

test("an identity that one revokes gets nothing from the other, and what it got from there is revoked everywhere", async (t) => {
  const [a, b] = [replica(t), replica(t)];
  const { serial } = await b.issue();
  b.authority.ledger.flush();
  revoke(a.authority, { kind: "identity", value: "photo/web", reason: "unspecified" }, a.clock.now());
  settle(EMPTY, a.shared, b.shared);
  await assert.rejects(b.issue(), { code: "permission-denied" });
  assert.ok(b.authority.revocations.isRevoked(serial));
  assert.ok(a.authority.revocations.isRevoked(serial));
});

test("an identity that one sets free is free at the other, and may be revoked again", async (t) => {
  const [a, b] = [replica(t), replica(t)];
  revoke(a.authority, { kind: "identity", value: "photo/web", reason: "unspecified" }, a.clock.now());
  let document = settle(EMPTY, a.shared, b.shared);
  b.authority.revocations.unblock(WEB);
  document = settle(document, b.shared, a.shared);
  assert.deepEqual([a.authority.revocations.blocks, b.authority.revocations.blocks], [[], []]);
  await b.issue();
  // Later than all that was said before.
  revoke(b.authority, { kind: "identity", value: "photo/web", reason: "unspecified" }, b.clock.now() + 3_600_000);
  settle(document, b.shared, a.shared);
  assert.equal(a.authority.revocations.blocks.length, 1);
});

test("what has expired by one replica's clock and not by another's is not taken out and put back without end", async (t) => {
  const [a, b] = [replica(t, 300_000), replica(t)];
  const { serial } = await a.issue();
  a.authority.ledger.flush();
  revoke(a.authority, { kind: "serial", value: serial, reason: "keyCompromise" }, a.clock.now());
  const document = settle(EMPTY, a.shared, b.shared);
  // An hour's life, of which the one that is behind has minutes left.
  for (const each of [a, b]) each.pass(3_700_000);
  assert.equal(a.authority.revocations.certificates(a.clock.now()).length, 0);
  assert.equal(settle(document, a.shared, b.shared), document);
  for (const each of [a, b]) each.pass(7_200_000);
  assert.equal(settle(document, a.shared, b.shared), EMPTY);
});

test("a replica that comes later knows what was revoked before it serves", async (t) => {
  const a = replica(t);
  revoke(a.authority, { kind: "identity", value: "photo/web", reason: "unspecified" }, a.clock.now());
  const late = replica(t);
  late.shared.take(a.shared.text);
  await assert.rejects(late.issue(), { code: "permission-denied" });
});

test("a document that cannot be read is refused, and nothing of it is taken", (t) => {
  const { shared } = replica(t);
  for (const text of ["", "{", "{}", '{"certificates":[{}],"blocks":[]}', '{"certificates":[],"blocks":[{"kind":"key"}]}']) {
    assert.throws(() => shared.take(text), { code: "invalid-configuration" }, text);
  }
});
