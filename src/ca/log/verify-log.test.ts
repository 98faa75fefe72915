import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, globSync, mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { RecordingLogger } from "../../../test/fakes/recording-logger.ts";
import { formatSpiffeId, parseSpiffeId } from "../../identity/spiffe-id.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import { buildCsr, generateKey } from "../../x509/csr-builder.ts";
import { type Authority, openAuthority } from "../authority.ts";
import { ledgerRows, openLedgerForReading } from "../ledger-database.ts";
import { parseVerifier } from "./note.ts";
import { formatProof, openProof } from "./proof.ts";
import { verifyLog } from "./verify-log.ts";

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const identity = parseSpiffeId("spiffe://cluster.local/ns/photo/sa/web");
const csr = buildCsr(generateKey(), formatSpiffeId(identity));
const COUNT = 600;

let model = "";
let state = "";
let logger: RecordingLogger;
const opened: Authority[] = [];

function open(): Authority {
  const trustDomain = parseTrustDomain("cluster.local");
  const authority = openAuthority({ stateFolder: state, trustDomain, clock: { now: () => NOW }, logger });
  opened.push(authority);
  return authority;
}

const close = () => {
  for (const authority of opened.splice(0)) authority.close();
};
const issue = (authority: Authority) => authority.issue({ csr, identity, ttlSeconds: 0, caller: "token" });

const issueMany = (authority: Authority, count: number) =>
  Promise.all(Array.from({ length: count }, async () => authority.recorded(await issue(authority))));

/** A state folder with 600 certificates, made once and copied for each test. */
before(async () => {
  logger = new RecordingLogger();
  model = mkdtempSync(join(tmpdir(), "log-model-"));
  state = model;
  const authority = open();
  for (let i = 0; i < COUNT; i += 50) await issueMany(authority, 50);
  await authority.log.published();
  close();
});
after(() => rmSync(model, { recursive: true }));
beforeEach(() => {
  logger = new RecordingLogger();
  state = mkdtempSync(join(tmpdir(), "log-"));
  cpSync(model, state, { recursive: true });
});
afterEach(() => {
  close();
  rmSync(state, { recursive: true });
});

const at = (path: string) => join(state, "ca", "log", path);
const database = (run: (database: DatabaseSync) => void) => {
  const db = new DatabaseSync(join(state, "ca", "ledger.sqlite"));
  run(db);
  db.close();
};

function verify(kept: readonly { readonly where: string; readonly note: string }[] = []) {
  const ledger = openLedgerForReading(join(state, "ca", "ledger.sqlite"));
  try {
    const verifier = parseVerifier(readFileSync(at("verifier"), "utf8"));
    return verifyLog({ folder: at(""), verifier, kept, rows: ledgerRows(ledger), retainedSince: NOW - 1000 });
  } finally {
    ledger.close();
  }
}

/** What is wrong, as `where: message`. */
const problems = (...kept: Parameters<typeof verify>) => verify(...kept).problems.map(({ where, message }) => `${where}: ${message}`);

function flip(path: string, byte: number): void {
  const bytes = readFileSync(at(path));
  bytes[byte] = (bytes[byte] ?? 0) ^ 1;
  writeFileSync(at(path), bytes);
}

describe("verifyLog()", () => {
  test("finds nothing wrong with a log that nobody touched, whose right edge is its only partial tiles", () => {
    const { problems: none, size, waiting, checkpoints } = verify();
    assert.deepEqual([none, size, waiting], [[], COUNT, 0]);
    assert.ok(checkpoints >= 3);
    assert.deepEqual(globSync("tile/**/*.p/*", { cwd: at("") }).sort(), ["tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/002.p/88"]);
  });

  test("tells of one flipped bit, and in which file", () => {
    for (const path of ["tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"]) {
      flip(path, 40);
      assert.deepEqual(problems(), [`${path}: the file is not what the entries give, from byte 40 on`]);
      flip(path, 40);
    }
    flip("tile/entries/001", 60);
    const told = problems();
    assert.ok(
      told.some((line) => line.startsWith("tile/0/001: the file is not what the entries give")),
      told.join("\n"),
    );
    assert.ok(
      told.some((line) => line.startsWith("checkpoint: the checkpoint of size 600 has another root")),
      told.join("\n"),
    );
    flip("tile/entries/001", 60);
    flip("checkpoint", 30);
    assert.throws(verify, { code: "unauthenticated" });
  });

  test("tells of a tile that is cut off or gone", () => {
    truncateSync(at("tile/0/000"), 100);
    assert.deepEqual(problems(), ["tile/0/000: the file is not what the entries give, from byte 100 on"]);
    rmSync(at("tile/0/000"));
    assert.deepEqual(problems(), ["tile/0/000: the file is missing from the log"]);
    truncateSync(at("tile/entries/002.p/88"), 100);
    assert.ok(problems().includes("tile/entries/002.p/88: the bundle is cut off within an entry"));
  });

  test("tells of a row that was deleted, changed, or put in", () => {
    database((db) =>
      db.exec(
        "DELETE FROM certificates WHERE leaf = 0 OR leaf = 300; UPDATE certificates SET identity = 'spiffe://cluster.local/ns/photo/sa/db' WHERE leaf = 7",
      ),
    );
    const told = problems();
    assert.equal(told.length, 3);
    assert.match(told[0] ?? "", /^ledger row of leaf 0: the row of serial [0-9a-f]{32} is missing from the ledger$/);
    assert.match(told[1] ?? "", /^ledger row of leaf 7: `identity` of serial \S+ is `\S+db` in the ledger and `\S+web` in the log$/);
    assert.match(told[2] ?? "", /^ledger row of leaf 300: .* is missing/);
    database((db) =>
      db.exec("UPDATE certificates SET leaf = 100 WHERE leaf = 500; UPDATE certificates SET state = 'failed' WHERE leaf = 9"),
    );
    assert.ok(problems().some((line) => line.startsWith("ledger row of leaf 100: ")));
    assert.ok(problems().some((line) => /^ledger row of leaf 9: serial \S+ is `failed` in the ledger/.test(line)));
  });

  test("tells that the log was set back: by its own archive, or by a checkpoint that was kept elsewhere", async () => {
    const authority = open();
    await issueMany(authority, 201);
    await authority.log.published();
    const note = authority.log.checkpoint;
    close();
    const later = state;
    state = mkdtempSync(join(tmpdir(), "log-"));
    cpSync(model, state, { recursive: true });
    assert.deepEqual(problems([{ where: "kept.txt", note }]), [
      "kept.txt: the log was set back: this checkpoint has 801 entries, and the log says 600",
    ]);
    cpSync(join(later, "ca", "log", "checkpoints"), at("checkpoints"), { recursive: true });
    assert.match(problems().join(), /^checkpoints\/[78]\d\d: the log was set back/);
    rmSync(later, { recursive: true });
  });

  test("tells that history was rewritten, when the new log is good in itself", async () => {
    const note = readFileSync(at("checkpoint"), "utf8");
    // The owner of the key forgets the log and writes another.
    database((db) => db.exec("DELETE FROM certificates"));
    rmSync(at(""), { recursive: true });
    const authority = open();
    await issueMany(authority, COUNT + 1);
    close();
    assert.deepEqual(problems(), []);
    assert.deepEqual(problems([{ where: "kept.txt", note }]), [
      "kept.txt: the checkpoint of size 600 has another root than the entries give",
    ]);
  });
});

describe("a start", () => {
  test("adds what a crash left out of the log, with the bytes that it would have had", async (t) => {
    const authority = open();
    // The process ends between the ledger's commit and the log's journal.
    t.mock.method(authority.log, "append", () => undefined);
    const waiting = await issue(authority);
    authority.ledger.flush();
    close();
    assert.equal(verify().waiting, 1);
    assert.deepEqual(verify().problems, []);
    const again = open();
    assert.equal(again.log.size, COUNT + 1);
    assert.equal(again.ledger.find(waiting.serial)?.leaf, COUNT);
    close();
    assert.deepEqual([verify().problems, verify().waiting], [[], 0]);
  });

  test("puts back rows that the ledger lost, and says so", async () => {
    database((db) => db.exec("DELETE FROM certificates WHERE leaf >= 590"));
    open();
    const { fields } = await logger.line("the ledger lacked certificates that its log has: they are put back");
    assert.deepEqual(fields, { missing: 10, restored: 10 });
    close();
    assert.deepEqual(problems(), []);
    rmSync(join(state, "ca", "ledger.sqlite"));
    assert.equal(open().ledger.nextLeaf, COUNT);
    close();
    assert.deepEqual(problems(), []);
  });

  test("is refused on a log whose edge is not that of its checkpoint, whose key is gone, or which was set back", () => {
    flip("tile/0/002.p/88", 1);
    assert.throws(open, { code: "invalid-configuration", message: "the tiles of the log are not those of its checkpoint" });
    flip("tile/0/002.p/88", 1);
    renameSync(join(state, "ca", "log-key.pem"), join(state, "aside"));
    assert.throws(open, { code: "invalid-configuration", message: /key of the log is missing/ });
    renameSync(join(state, "aside"), join(state, "ca", "log-key.pem"));
    rmSync(at("checkpoint"));
    assert.throws(open, { code: "invalid-configuration", message: "the checkpoint is missing from the log" });
    rmSync(at(""), { recursive: true });
    database((db) => db.exec("UPDATE certificates SET leaf = leaf + 10000"));
    assert.throws(open, { code: "invalid-configuration", message: /it was set back/ });
  });
});

describe("a proof", () => {
  test("of each certificate holds, and one that was tampered with does not", () => {
    const { log } = open();
    for (const leaf of [0, 255, 256, 599]) {
      const [entry] = log.reader.entries(leaf);
      assert.ok(entry);
      const text = formatProof({ entry, index: leaf, hashes: log.reader.inclusionProof(leaf), checkpoint: log.checkpoint });
      assert.equal(openProof(text, log.verifier).identity, formatSpiffeId(identity));
      assert.throws(() => openProof(text.replace(/index \d+/, `index ${leaf ^ 1}`), log.verifier), { code: "unauthenticated" });
      const other = Buffer.from(entry).toString("utf8").replace("web", "db!");
      assert.throws(() => openProof(text.replace(/^extra .*$/m, `extra ${btoa(other)}`), log.verifier), { code: "unauthenticated" });
      assert.throws(() => openProof(text.replace("\n600\n", "\n601\n"), log.verifier), { code: "unauthenticated" });
    }
    for (const text of ["", "c2sp.org/tlog-proof@v1\n\n", "x".repeat(100_000)])
      assert.throws(() => openProof(text, log.verifier), { code: "invalid-argument" });
  });
});

test("killed while it issues, it leaves a log that holds, with everything that was handed out", async () => {
  const url = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);
  const program = `
    import { writeSync } from "node:fs";
    import { openAuthority } from ${url("../authority.ts")};
    const authority = openAuthority({ stateFolder: ${JSON.stringify(state)}, trustDomain: "cluster.local", clock: { now: () => ${NOW} }, logger: { log() {} } });
    const request = { csr: ${JSON.stringify(csr)}, identity: ${JSON.stringify(identity)}, ttlSeconds: 0, caller: "token" };
    const caller = async () => { for (;;) writeSync(1, (await authority.recorded(await authority.issue(request))).serial + "\\n"); };
    for (let i = 0; i < 8; i++) caller();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  let text = "";
  for await (const chunk of child.stdout) {
    text += chunk;
    if (text.split("\n").length > 100) child.kill("SIGKILL");
  }
  await exited;
  const serials = text.split("\n").slice(0, -1);
  assert.ok(serials.length >= 100);
  assert.deepEqual(verify().problems, []);
  const { ledger, log } = open();
  const inLog = new Set(log.reader.entries(COUNT).map((entry) => JSON.parse(Buffer.from(entry).toString("utf8")).serial));
  assert.deepEqual(
    serials.filter((serial) => !inLog.has(serial)),
    [],
  );
  assert.equal(ledger.nextLeaf, log.size);
  close();
  assert.deepEqual([verify().problems, verify().waiting], [[], 0]);
  assert.equal(existsSync(at("checkpoint.new")), false);
});
