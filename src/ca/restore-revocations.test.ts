import assert from "node:assert/strict";
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import { type Authority, openAuthority } from "./authority.ts";
import { JWT_SVIDS_FILE, JwtSvidRecord } from "./jwt-svid-record.ts";
import { followIntoLog } from "./ledger-follow.ts";
import { unblockOffline } from "./offline-unblock.ts";

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const DAY_MS = 86_400_000;
const web = parseSpiffeId("spiffe://cluster.local/ns/photo/sa/web");
const WEB = formatSpiffeId(web);
const KEY = "ab".repeat(20);

/** A CA with its log, as a control plane has it: `start` opens it at a time, `end` closes it. */
function place(t: TestContext) {
  const state = tempFolder(t);
  const logger = new RecordingLogger();
  const start = (now: number) => {
    const clock = { now: () => now };
    const authority = openAuthority({ stateFolder: state, trustDomain: DEFAULT_TRUST_DOMAIN, clock, logger });
    const jwtSvids = new JwtSvidRecord(join(state, JWT_SVIDS_FILE));
    const stop = followIntoLog({ ledger: authority.ledger, revocations: authority.revocations, jwtSvids, clock, logger });
    const end = async (): Promise<void> => {
      stop();
      await authority.log.published();
      jwtSvids.close();
      authority.close();
    };
    return { authority, end };
  };
  const files = ["", "-wal", "-shm"].map((suffix) => join(state, "ca", `revocations.sqlite${suffix}`));
  const lose = (): void => {
    for (const file of files) rmSync(file, { force: true });
  };
  return { state, logger, start, lose, file: files[0] ?? "" };
}

async function issue(authority: Authority): Promise<string> {
  const csr = buildCsr(generateKey(), WEB);
  return (await authority.recorded(await authority.issue({ csr, identity: web, ttlSeconds: 0, caller: "token" }))).serial;
}

function revoke({ ledger, revocations }: Authority, serial: string, now: number): void {
  const record = ledger.find(serial);
  assert.ok(record);
  revocations.revoke([record], "keyCompromise", now, { kind: "identity", value: WEB });
}

const TOLD = "the record of revocations lacked what its log has: it is put back";

test("a record of revocations that was lost is put back from the log, with its times and reasons, and nothing is said to be free", async (t) => {
  const { start, lose, logger } = place(t);
  const first = start(NOW);
  const serial = await issue(first.authority);
  revoke(first.authority, serial, NOW);
  first.authority.revocations.revoke([], "keyCompromise", NOW + 1, { kind: "key", value: KEY });
  const [before, number] = [first.authority.revocations.certificates(NOW), first.authority.revocations.nextListNumber()];
  await first.end();
  lose();
  const second = start(NOW + 2);
  const { revocations, ledger } = second.authority;
  assert.deepEqual(revocations.certificates(NOW + 2), before);
  assert.deepEqual(revocations.blocks, [
    { kind: "identity", value: WEB, since: NOW, reason: "keyCompromise" },
    { kind: "key", value: KEY, since: NOW + 1, reason: "keyCompromise" },
  ]);
  assert.throws(() => revocations.checkIssuance(WEB, "other"), { code: "permission-denied" });
  assert.deepEqual([ledger.notes.isBlocked("identity", WEB), ledger.notes.isBlocked("key", KEY)], [true, true]);
  assert.ok(revocations.nextListNumber() > number);
  const told = logger.lines.filter(({ message }) => message === TOLD);
  assert.deepEqual(
    told.map(({ fields }) => fields),
    [{ certificates: 1, blocks: 2 }],
  );
  await second.end();
  assert.equal(logger.lines.filter(({ message }) => message === TOLD).length, 1);
});

test("one that was set back to a backup has what was revoked since", async (t) => {
  const { start, lose, file, state } = place(t);
  const first = start(NOW);
  const serial = await issue(first.authority);
  await first.end();
  copyFileSync(file, join(state, "backup"));
  const second = start(NOW);
  revoke(second.authority, serial, NOW);
  await second.end();
  lose();
  copyFileSync(join(state, "backup"), file);
  const third = start(NOW);
  assert.ok(third.authority.revocations.isRevoked(serial));
  assert.throws(() => third.authority.revocations.checkIssuance(WEB, ""), { code: "permission-denied" });
  await third.end();
});

test("it goes with the ledger too, where only the log is left, and certificates of other replicas last as long as any", async (t) => {
  const { start, lose, state } = place(t);
  const first = start(NOW);
  const serial = await issue(first.authority);
  revoke(first.authority, serial, NOW);
  const other = {
    serial: "77",
    identity: WEB,
    sha256: "cd".repeat(32),
    notAfter: NOW + DAY_MS,
    revokedAt: NOW,
    reason: "unspecified",
  } as const;
  first.authority.revocations.adopt([other], [], NOW);
  await first.end();
  lose();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(join(state, "ca", `ledger.sqlite${suffix}`), { force: true });
  const second = start(NOW);
  const restored = second.authority.revocations.certificates(NOW);
  assert.deepEqual(
    restored.map((each) => [each.serial, each.notAfter]),
    [
      [serial, NOW + DAY_MS],
      ["77", NOW + 90 * DAY_MS],
    ],
  );
  await second.end();
});

test("what was given free stays free, by a control plane that runs and offline, and what has expired is left out", async (t) => {
  const { start, lose, state, logger } = place(t);
  const first = start(NOW);
  const serial = await issue(first.authority);
  revoke(first.authority, serial, NOW);
  first.authority.revocations.unblock(WEB);
  first.authority.revocations.revoke([], "unspecified", NOW, { kind: "identity", value: WEB });
  await first.end();
  assert.equal(unblockOffline(state, "photo/web"), WEB);
  const second = start(NOW);
  assert.deepEqual(second.authority.revocations.blocks, []);
  assert.equal(second.authority.ledger.notes.isBlocked("identity", WEB), false);
  await second.end();
  lose();
  const third = start(NOW + 2 * DAY_MS);
  assert.deepEqual([third.authority.revocations.isRevoked(serial), third.authority.revocations.blocks], [false, []]);
  assert.deepEqual(
    logger.lines.filter(({ message }) => message === TOLD),
    [],
  );
  await third.end();
});
