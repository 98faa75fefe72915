import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, test } from "node:test";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import { type Authority, openAuthority } from "./authority.ts";
import { JWT_SVIDS_FILE, JwtSvidRecord, MAX_JWT_SVIDS, rootOfRows } from "./jwt-svid-record.ts";
import { ledgerRows, openLedgerForReading } from "./ledger-database.ts";
import { followIntoLog } from "./ledger-follow.ts";
import { noteTexts } from "./ledger-notes.ts";
import { decodeEntry, isNote } from "./log/entry.ts";
import { parseVerifier } from "./log/note.ts";
import { verifyLog } from "./log/verify-log.ts";

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const identity = parseSpiffeId("spiffe://cluster.local/ns/photo/sa/web");
const WEB = formatSpiffeId(identity);

let state = "";
let authority: Authority;
let jwtSvids: JwtSvidRecord;
let stop: () => void;
const logger = new RecordingLogger();
const clock = { now: () => NOW };

function start(): void {
  authority = openAuthority({ stateFolder: state, trustDomain: parseTrustDomain("cluster.local"), clock, logger });
  jwtSvids = new JwtSvidRecord(join(state, JWT_SVIDS_FILE));
  stop = followIntoLog({ ledger: authority.ledger, revocations: authority.revocations, jwtSvids, clock, logger });
}

async function end(): Promise<void> {
  stop();
  await authority.log.published();
  jwtSvids.close();
  authority.close();
}

beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "follow-"));
  start();
});
afterEach(() => rmSync(state, { recursive: true }));

const issue = async () =>
  authority.recorded(await authority.issue({ csr: buildCsr(generateKey(), WEB), identity, ttlSeconds: 0, caller: "token" }));
const token = (id: string) =>
  jwtSvids.add({ id, identity: WEB, audiences: ["db"], issuedAt: NOW, expiresAt: NOW + 300_000, sha256: "ab".repeat(32) });

/** What the log has besides certificates, with a certificate as its serial number. */
const entries = async () => {
  await authority.log.published();
  return [...authority.log.reader.entries().map(decodeEntry)].map((entry) => (isNote(entry) ? entry.type : entry.serial));
};

function problems(): readonly string[] {
  const folder = join(state, "ca", "log");
  const ledger = openLedgerForReading(join(state, "ca", "ledger.sqlite"));
  const rows = new DatabaseSync(join(state, JWT_SVIDS_FILE), { readOnly: true });
  try {
    const report = verifyLog({
      folder,
      verifier: parseVerifier(readFileSync(join(folder, "verifier"), "utf8")),
      kept: [],
      rows: ledgerRows(ledger),
      retainedSince: NOW - 1000,
      notes: noteTexts(ledger),
      jwtSvids: (first, last) => rootOfRows(rows, first, last),
      keptJwtSvids: MAX_JWT_SVIDS,
    });
    assert.equal(report.waiting, 0);
    return report.problems.map(({ where, message }) => `${where}: ${message}`);
  } finally {
    ledger.close();
    rows.close();
  }
}

const tamper = (file: string, sql: string): void => {
  const database = new DatabaseSync(join(state, file));
  database.exec(sql);
  database.close();
};

describe("the log of a CA", () => {
  test("has what was revoked, blocked and given free, between the certificates, once each, also after a restart", async () => {
    const { serial } = await issue();
    const record = authority.ledger.find(serial);
    assert.ok(record);
    authority.revocations.revoke([record], "keyCompromise", NOW, { kind: "identity", value: WEB });
    authority.revocations.unblock(WEB);
    const second = await issue();
    const expected = [serial, "revoked", "blocked", "unblocked", second.serial];
    assert.deepEqual(await entries(), expected);
    await end();
    start();
    assert.deepEqual(await entries(), expected);
    assert.deepEqual(authority.ledger.notes.revoked.get(serial)?.reason, "keyCompromise");
    assert.deepEqual(
      authority.ledger.certificates({ revoked: true, limit: 10 }).map((each) => each.serial),
      [serial],
    );
    await end();
    assert.deepEqual(problems(), []);
  });

  test("learns at a start what was revoked or given free without it", async () => {
    const { serial } = await issue();
    stop();
    const record = authority.ledger.find(serial);
    assert.ok(record);
    // Nobody listens any more, as in a process that dies here; the listener of before finds the same as any other.
    authority.revocations.revoke([record], "keyCompromise", NOW);
    await end();
    start();
    assert.deepEqual(await entries(), [serial, "revoked"]);
    await end();
  });

  test("seals the rows of JWT-SVIDs, with none left out at the end, and numbers go on", async () => {
    token("one");
    token("two");
    await end();
    start();
    token("three");
    await end();
    start();
    assert.deepEqual(await entries(), ["jwt-svids", "jwt-svids"]);
    const [first, second] = [...authority.log.reader.entries().map(decodeEntry)];
    assert.deepEqual(
      [first, second].map((entry) => (entry !== undefined && isNote(entry) && entry.type === "jwt-svids" ? [entry.first, entry.last] : [])),
      [
        [1, 2],
        [3, 3],
      ],
    );
    await end();
    assert.deepEqual(problems(), []);
    rmSync(join(state, JWT_SVIDS_FILE));
    start();
    token("four");
    await end();
    assert.deepEqual(problems(), [
      "entry 0: the rows of the JWT-SVIDs 1 to 2 are not those that were sealed",
      "entry 1: the rows of the JWT-SVIDs 3 to 3 are not those that were sealed",
    ]);
  });

  for (const [what, file, sql, told] of [
    [
      "a row of a JWT-SVID that was changed",
      JWT_SVIDS_FILE,
      "UPDATE jwt_svids SET identity = 'x' WHERE number = 1",
      /the rows of the JWT-SVIDs 1 to 2 are not/,
    ],
    ["one that was deleted", JWT_SVIDS_FILE, "DELETE FROM jwt_svids WHERE number = 2", /the rows of the JWT-SVIDs 1 to 2 are not/],
    [
      "a note that was changed",
      "ca/ledger.sqlite",
      "UPDATE notes SET entry = replace(entry, 'keyCompromise', 'superseded')",
      /is another in the ledger/,
    ],
    [
      "one that was deleted from the ledger",
      "ca/ledger.sqlite",
      "DELETE FROM notes WHERE leaf = 1",
      /leaf 1: what the log says \(`revoked`\) is missing from the ledger/,
    ],
    [
      "one that was put in the place of a certificate",
      "ca/ledger.sqlite",
      "INSERT INTO notes VALUES (0, '{}')",
      /leaf 0: the log has another entry there/,
    ],
  ] as const) {
    test(`tells of ${what}`, async () => {
      const { serial } = await issue();
      const record = authority.ledger.find(serial);
      assert.ok(record);
      authority.revocations.revoke([record], "keyCompromise", NOW);
      token("one");
      token("two");
      await end();
      assert.deepEqual(problems(), []);
      tamper(file, sql);
      assert.match(problems().join("\n"), told);
    });
  }

  test("gives back to a ledger that was lost what it says besides certificates", async () => {
    const { serial } = await issue();
    const record = authority.ledger.find(serial);
    assert.ok(record);
    authority.revocations.revoke([record], "keyCompromise", NOW);
    await end();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(join(state, "ca", `ledger.sqlite${suffix}`), { force: true });
    start();
    assert.deepEqual([authority.ledger.nextLeaf, authority.ledger.notes.revoked.has(serial)], [2, true]);
    await end();
    assert.deepEqual(problems(), []);
  });

  test("of before there were notes goes on with its ledger", async () => {
    const { serial } = await issue();
    await end();
    tamper("ca/ledger.sqlite", "DROP TABLE notes; ALTER TABLE refusals DROP COLUMN kind; PRAGMA user_version = 4;");
    assert.deepEqual(problems(), []);
    start();
    assert.deepEqual(await entries(), [serial]);
    authority.ledger.refuse({ caller: "x", identity: "", reason: "y", kind: "jwt-svid" }, NOW);
    assert.deepEqual(
      authority.ledger.refusals({ limit: 1, kind: "jwt-svid" }).map(({ caller }) => caller),
      ["x"],
    );
    await end();
  });
});
