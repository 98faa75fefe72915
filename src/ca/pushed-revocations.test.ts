import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { OpensslCa } from "../../test/fixture/openssl-ca.ts";
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { parseCertificates } from "../x509/certificate.ts";
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

test("a look that failed while nothing is revoked is repeated, so that an issuer's newest list is kept for later", async (t) => {
  const { authority, clock, logger } = open(t);
  let looks = 0;
  const lists = {
    pushed: async () => {
      looks += 1;
      if (looks === 1) throw new AppError("unavailable", "the disk is full");
      return authority.lists.pushed();
    },
  } as unknown as Authority["lists"];
  const pushed = new PushedRevocations({
    authority: { revocations: authority.revocations, lists, onChange: () => undefined },
    clock,
    logger,
  });
  t.after(() => pushed.close());
  await pushed.settled();
  for (let round = 0; round < 3; round++) {
    authority.revocations.revoke([], "unspecified", clock.now());
    await pushed.settled();
  }
  assert.deepEqual([looks, pushed.lists, pushed.problem], [2, "", ""]);
});

describe("an operator's CA whose issuer is replaced", () => {
  function plugged(t: TestContext) {
    const folder = mkdtempSync(join(tmpdir(), "pushed-"));
    const [caFolder, ca] = [join(folder, "cacerts"), new OpensslCa(join(folder, "openssl"))];
    ca.make("root");
    for (const name of ["first", "second"]) ca.make(name, { parent: "root" });
    const clock = new ManualClock(Math.floor(Date.now() / 1000) * 1000);
    const logger = new RecordingLogger();
    const opened = new Set<() => void>();
    t.after(() => {
      for (const end of opened) end();
      rmSync(folder, { recursive: true });
    });
    /** A control plane, and how it ends. */
    const start = (issuer: string) => {
      ca.plug(caFolder, issuer, ["root"]);
      const authority = openAuthority({ stateFolder: join(folder, "state"), trustDomain: DEFAULT_TRUST_DOMAIN, clock, logger, caFolder });
      const pushed = new PushedRevocations({ authority, clock, logger });
      const revoke = async (serial: string) => {
        const record = authority.ledger.find(serial);
        assert.ok(record);
        authority.revocations.revoke([record], "keyCompromise", clock.now());
        await pushed.settled();
      };
      const end = () => {
        if (!opened.delete(end)) return;
        pushed.close();
        authority.close();
      };
      opened.add(end);
      return { authority, pushed, revoke, end };
    };
    const listOf = (lists: string, issuer: string) => {
      const [certificate] = parseCertificates(ca.text(`${issuer}.pem`));
      assert.ok(certificate);
      return parseRevocationLists(lists).find((list) => isRevocationListOf(list, certificate));
    };
    return { start, listOf, logger, clock, forget: () => rmSync(join(folder, "state", "ca", "revocations.sqlite")) };
  }

  test("keeps the last list of the one before, and says what that cannot list any more", async (t) => {
    const { start, listOf, logger, clock } = plugged(t);
    const first = start("first");
    const [good, revoked, late] = [await issue(first.authority), await issue(first.authority), await issue(first.authority)];
    await first.revoke(revoked);
    first.end();
    const second = start("second");
    await second.pushed.settled();
    assert.deepEqual([...(listOf(second.pushed.lists, "first")?.serials ?? [])], [revoked]);
    assert.ok(listOf(second.pushed.lists, "second"));
    assert.equal(second.pushed.problem, "");
    await second.revoke(late);
    assert.deepEqual([...(listOf(second.pushed.lists, "first")?.serials ?? [])], [revoked]);
    assert.match(second.pushed.problem, new RegExp(`^the issuer of ${late} was replaced before it could list them$`));
    assert.ok(logger.messages.includes("error: Envoys go on to call servers whose certificates are revoked"));
    assert.doesNotMatch(second.pushed.lists + second.pushed.problem, new RegExp(good));
    await clock.advance(2 * DAY_MS);
    second.authority.revocations.revoke([], "unspecified", clock.now());
    await second.pushed.settled();
    assert.deepEqual([second.pushed.lists, second.pushed.problem], ["", ""]);
  });

  test("keeps it where nothing was revoked then, so that its servers are not refused later", async (t) => {
    const { start, listOf } = plugged(t);
    const first = start("first");
    await issue(first.authority);
    await first.pushed.settled();
    first.end();
    const second = start("second");
    await second.revoke(await issue(second.authority));
    assert.deepEqual([...(listOf(second.pushed.lists, "first")?.serials ?? [])], []);
    assert.equal(listOf(second.pushed.lists, "second")?.serials.size, 1);
  });

  test("has none where a former issuer left none, and says so", async (t) => {
    const { start, forget } = plugged(t);
    const first = start("first");
    await issue(first.authority);
    await first.pushed.settled();
    first.end();
    forget();
    const second = start("second");
    await second.revoke(await issue(second.authority));
    assert.equal(second.pushed.lists, "");
    assert.match(second.pushed.problem, /^certificates of the former issuer [0-9a-f]{40} have not expired, and there is no list of it$/);
  });
});
