import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import { isRevocationListOf, parseRevocationLists } from "../x509/revocation-list.ts";
import { type Authority, openAuthority } from "./authority.ts";
import { PushedRevocations } from "./pushed-revocations.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/server";
const DAY_MS = 86_400_000;

async function issue(authority: Authority): Promise<string> {
  const csr = buildCsr(generateKey(), IDENTITY);
  return (await authority.issue({ csr, identity: parseSpiffeId(IDENTITY), ttlSeconds: 0, caller: "token" })).serial;
}

function open(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), "pushed-"));
  const clock = new ManualClock(Math.floor(Date.now() / 1000) * 1000);
  const logger = new RecordingLogger();
  const authority = openAuthority({ stateFolder: folder, trustDomain: DEFAULT_TRUST_DOMAIN, clock, logger });
  const pushed = new PushedRevocations({ authority, clock, logger });
  t.after(() => {
    pushed.close();
    authority.close();
    rmSync(folder, { recursive: true });
  });
  const revoke = async (serial: string) => {
    const record = authority.ledger.find(serial);
    assert.ok(record);
    authority.revocations.revoke([record], "keyCompromise", clock.now());
    await pushed.settled();
  };
  return { authority, clock, logger, pushed, revoke };
}

test("there is no list while nothing is revoked, so that nothing depends on one", async (t) => {
  const { authority, pushed } = open(t);
  await issue(authority);
  await pushed.settled();
  assert.equal(pushed.lists, "");
});

test("what is revoked is in a list of each authority, whose times refuse nobody", async (t) => {
  const { authority, clock, pushed, revoke } = open(t);
  const serial = await issue(authority);
  authority.own?.prepare();
  await revoke(serial);
  const lists = parseRevocationLists(pushed.lists);
  const authorities = authority.own?.authorities ?? [];
  assert.equal(lists.length, 2);
  for (const { certificate } of authorities) {
    const list = lists.find((each) => isRevocationListOf(each, certificate));
    assert.deepEqual([...(list?.serials ?? [])], [serial]);
    assert.equal(list?.nextUpdate, certificate.notAfter);
    assert.ok((list?.thisUpdate ?? clock.now()) <= clock.now() - 3_600_000);
  }
});

test("a new authority has its list before anything is signed by it, and what has expired needs none any more", async (t) => {
  const { authority, clock, pushed, revoke } = open(t);
  let changes = 0;
  pushed.onChange(() => {
    changes += 1;
  });
  await revoke(await issue(authority));
  assert.deepEqual([parseRevocationLists(pushed.lists).length, changes], [1, 1]);
  authority.own?.prepare();
  await pushed.settled();
  assert.deepEqual([parseRevocationLists(pushed.lists).length, changes], [2, 2]);
  await clock.advance(2 * DAY_MS);
  authority.revocations.revoke([], "unspecified", clock.now());
  await pushed.settled();
  assert.equal(pushed.lists, "");
});

test("an operator's CA has one only while nothing is left of another issuer of its", async (t) => {
  const { authority } = open(t);
  await issue(authority);
  const [id = ""] = authority.own?.authorities.map((each) => each.id) ?? [];
  assert.equal(authority.ledger.hasIssuedBeside([id], Date.now()), false);
  assert.equal(authority.ledger.hasIssuedBeside(["00"], Date.now()), true);
  assert.equal(authority.ledger.hasIssuedBeside(["00"], Date.now() + 2 * DAY_MS), false);
});
