import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { collect, NOON, openTestStore, sampleRecord, temporaryFolder } from "../../test/fixture/audit-store.ts";
import { systemClock } from "../core/clock.ts";
import { silentLogger } from "../core/logger.ts";
import { AuditStore } from "./store.ts";

const everything = (store: AuditStore) => collect(store.query({}), (record) => record);
const paths = (store: AuditStore) => collect(store.query({}), (record) => record.path);

test("a record comes back as it was appended, with its number", async (t) => {
  const { store } = openTestStore(t);
  const record = sampleRecord({
    reporter: "embedded",
    detail: "ünïcode \u0000 'quoted'",
    audit: ["a/b[0]", "c/d[1]"],
    effect: "deny",
    origin: "default",
  });
  store.append([record]);
  assert.deepEqual(await everything(store), [{ ...record, id: 1 }]);
});

test("records keep the order of arrival and consecutive ids over a restart", async (t) => {
  const file = join(temporaryFolder(t), "audit.sqlite");
  const first = new AuditStore({ file, clock: systemClock, logger: silentLogger });
  first.append([sampleRecord({ path: "/1" }), sampleRecord({ path: "/2" })]);
  first.close();
  const { store } = openTestStore(t, { file });
  store.append([sampleRecord({ path: "/3" })]);
  assert.deepEqual(await collect(store.query({}), ({ id, path }) => [id, path]), [
    [1, "/1"],
    [2, "/2"],
    [3, "/3"],
  ]);
});

test("ids are not used again after retention has removed every record", async (t) => {
  const file = join(temporaryFolder(t), "audit.sqlite");
  const first = new AuditStore({ file, clock: systemClock, logger: silentLogger, maxRecords: 0 });
  first.append([sampleRecord(), sampleRecord()]);
  first.close();
  const { store } = openTestStore(t, { file });
  store.append([sampleRecord()]);
  assert.deepEqual(await collect(store.query({}), ({ id }) => id), [3]);
});

test("only the newest are kept when there are more records than the bound", async (t) => {
  const { store } = openTestStore(t, { maxRecords: 3 });
  for (let at = 0; at < 5; at++) {
    store.append([sampleRecord({ path: `/${at}` })]);
    store.flush();
  }
  assert.deepEqual(await paths(store), ["/2", "/3", "/4"]);
  assert.equal(store.stats().records, 3);
});

test("a large excess is removed slice by slice until the bound holds", async (t) => {
  const { store } = openTestStore(t, { maxRecords: 10 });
  store.append(Array.from({ length: 12_000 }, (_, at) => sampleRecord({ path: `/${at}` })));
  assert.ok(store.stats().records > 10);
  for (let turn = 0; turn < 100 && store.stats().records > 10; turn++) await nextTurn();
  assert.deepEqual((await paths(store)).at(0), "/11990");
  assert.equal(store.stats().records, 10);
});

test("the file stays below the bound in bytes however much comes, and the newest are there", async (t) => {
  const maxBytes = 1_000_000;
  const file = join(temporaryFolder(t), "audit.sqlite");
  const { store } = openTestStore(t, { file, maxBytes });
  for (let at = 0; at < 20_000; at += 1_000) {
    store.append(Array.from({ length: 1_000 }, (_, more) => sampleRecord({ path: `/${at + more}` })));
    store.flush();
    for (let turn = 0; turn < 10; turn++) await nextTurn();
  }
  const kept = await paths(store);
  assert.ok(kept.length > 1_000, `${kept.length} are kept`);
  assert.equal(kept.at(-1), "/19999");
  store.close();
  // What one turn brought is written before there is room for it.
  assert.ok(statSync(file).size < 1.5 * maxBytes, `${statSync(file).size} bytes`);
});

test("records older than the bound are removed, counted from their arrival", async (t) => {
  const { store, clock } = openTestStore(t, { maxAgeMs: 1000 });
  store.append([sampleRecord({ path: "/old" })]);
  store.flush();
  clock.time += 600;
  store.append([sampleRecord({ path: "/new" })]);
  store.flush();
  clock.time += 600;
  store.prune();
  assert.deepEqual(await paths(store), ["/new"]);
});

test("a clock that is set back neither removes nor hides records", async (t) => {
  const { store, clock } = openTestStore(t, { maxAgeMs: 1000 });
  store.append([sampleRecord({ path: "/1" })]);
  store.flush();
  clock.time -= 60_000;
  store.append([sampleRecord({ path: "/2", time: clock.time })]);
  assert.deepEqual(await collect(store.query({ since: clock.time }), ({ path }) => path), ["/1", "/2"]);
});

test("a record cannot be later than its arrival, whatever a proxy's clock says", async (t) => {
  const { store } = openTestStore(t);
  store.append([sampleRecord({ time: NOON + 3_600_000 })]);
  assert.deepEqual(await collect(store.query({ since: NOON - 1000 }), ({ time }) => time), [NOON]);
});

test("texts of any length are cut at their bound and marked", async (t) => {
  const { store } = openTestStore(t);
  store.append([
    sampleRecord({ path: `/${"a".repeat(100_000)}`, detail: "b".repeat(100_000), audit: Array.from({ length: 500 }, () => "c/d[0]") }),
  ]);
  const [record] = await everything(store);
  assert.equal(record?.path.length, 2048);
  assert.ok(record?.path.endsWith("a…"));
  assert.equal(record?.detail.length, 1024);
  assert.equal(record?.audit.length, 64);
});

test("numbers that are no counts become 0 or the largest exact one", async (t) => {
  const { store } = openTestStore(t);
  store.append([sampleRecord({ bytesSent: 2 ** 60, bytesReceived: -1, status: Number.NaN })]);
  const [record] = await everything(store);
  assert.deepEqual([record?.bytesSent, record?.bytesReceived, record?.status], [Number.MAX_SAFE_INTEGER, 0, 0]);
});

const OPEN = { protocol: "tcp", method: "", path: "", status: 0, durationMicros: 0, connection: "c-1" } as const;
const END = { workload: "photo-ns/photo-backend", connection: "c-1", bytesReceived: 5, bytesSent: 7, durationMicros: 9 };
const sizes = (store: AuditStore) =>
  collect(store.query({}), ({ bytesReceived, bytesSent, durationMicros }) => [bytesReceived, bytesSent, durationMicros]);

test("a connection is recorded when it opens and completed when it ends, in its own place", async (t) => {
  const { store } = openTestStore(t);
  store.append([sampleRecord(OPEN), sampleRecord()]);
  assert.deepEqual((await sizes(store)).at(0), [0, 12, 0]);
  store.append([], [END]);
  assert.deepEqual(await sizes(store), [
    [5, 7, 9],
    [0, 12, 1500],
  ]);
  assert.ok(!Object.hasOwn((await everything(store))[0] ?? {}, "connection"));
});

test("a connection that opens and ends in one turn is complete at once", async (t) => {
  const { store } = openTestStore(t);
  store.append([sampleRecord(OPEN)], [END]);
  assert.deepEqual(await sizes(store), [[5, 7, 9]]);
});

test("an end completes one record only, of its own workload, and only once", async (t) => {
  const { store } = openTestStore(t);
  store.append([sampleRecord(OPEN), sampleRecord({ ...OPEN, workload: "x/y" })]);
  store.append([], [END, { ...END, bytesSent: 100 }, { ...END, connection: "" }, { ...END, connection: "c-2" }]);
  assert.deepEqual(await sizes(store), [
    [5, 7, 9],
    [0, 12, 0],
  ]);
});

test("the file and its companions can be read by their owner alone", (t) => {
  const { store, file } = openTestStore(t);
  store.append([sampleRecord()]);
  store.flush();
  const modes = readdirSync(dirname(file)).map((name) => (statSync(join(dirname(file), name)).mode & 0o777).toString(8));
  assert.deepEqual(modes, ["600", "600", "600"]);
});

test("a file that others can read is refused with the command that mends it", (t) => {
  const { store, file } = openTestStore(t);
  store.close();
  chmodSync(file, 0o644);
  assert.throws(() => openTestStore(t, { file }), { code: "unsafe-permissions", help: `run \`chmod 600 ${file}\`` });
});

test("a file of before dry runs is brought up to date, with its records, and takes new ones", async (t) => {
  const { store, file } = openTestStore(t);
  store.append([sampleRecord()]);
  store.close();
  const older = new DatabaseSync(file);
  older.exec("DROP INDEX record_would_deny; ALTER TABLE record DROP COLUMN dry_run; ALTER TABLE record DROP COLUMN dry_run_origin");
  older.exec("ALTER TABLE record DROP COLUMN tls");
  older.exec("DROP TABLE delivery; PRAGMA user_version = 1");
  older.close();
  const { store: again } = openTestStore(t, { file });
  const tried = { dryRun: "deny", dryRunOrigin: "photo-ns/new[0]" } as const;
  again.append([sampleRecord(tried)]);
  assert.deepEqual(await collect(again.query({}), (record) => record), [
    { ...sampleRecord({ tls: "" }), id: 1 },
    { ...sampleRecord(tried), id: 2 },
  ]);
  assert.deepEqual(await collect(again.query({ wouldDeny: true }), ({ id }) => id), [2]);
});

test("a file of before handshakes were recorded is brought up to date, with its records, and takes new ones", async (t) => {
  const { store, file } = openTestStore(t);
  store.append([sampleRecord()]);
  store.close();
  const older = new DatabaseSync(file);
  older.exec("ALTER TABLE record DROP COLUMN tls; DROP TABLE delivery; PRAGMA user_version = 2");
  older.close();
  const { store: again } = openTestStore(t, { file });
  again.append([sampleRecord()]);
  assert.deepEqual(await collect(again.query({}), ({ tls }) => tls), ["", sampleRecord().tls]);
});

test("a file of before deliveries were numbered is brought up to date, with its records, and takes them", async (t) => {
  const { store, file } = openTestStore(t);
  store.append([sampleRecord()]);
  store.close();
  const older = new DatabaseSync(file);
  older.exec("DROP TABLE delivery; PRAGMA user_version = 3");
  older.close();
  const { store: again } = openTestStore(t, { file });
  const delivery = { workload: "photo-ns/photo-backend", reporter: "envoy", run: "a", first: 1, count: 1, lost: 0 } as const;
  await again.deliver({ ...delivery, meanings: [{ kind: "record", record: sampleRecord() }] });
  assert.deepEqual(await collect(again.query({}), ({ id }) => id), [1, 2]);
});

test("a file of a newer schema is refused and left as it is", (t) => {
  const { store, file } = openTestStore(t);
  store.append([sampleRecord()]);
  store.close();
  const newer = new DatabaseSync(file);
  newer.exec("PRAGMA user_version = 5");
  newer.close();
  assert.throws(() => openTestStore(t, { file }), { code: "unsupported", message: /schema version 5/ });
  const again = new DatabaseSync(file);
  t.after(() => again.close());
  assert.equal(again.prepare("SELECT count(*) AS n FROM record").get()?.n, 1);
});

test("a file that is no database is refused and left as it is", (t) => {
  const file = join(temporaryFolder(t), "audit.sqlite");
  writeFileSync(file, "these are somebody's notes, not a database".repeat(100), { mode: 0o600 });
  assert.throws(() => openTestStore(t, { file }), { code: "unavailable", message: /cannot be read/ });
});

test("a folder that does not exist is named", (t) => {
  const file = join(temporaryFolder(t), "missing", "audit.sqlite");
  assert.throws(() => openTestStore(t, { file }), { code: "unavailable", message: /cannot be opened/ });
});

test("records that cannot be written are dropped, counted and logged once, and the store recovers", async (t) => {
  const { store, file, logger } = openTestStore(t);
  const other = new DatabaseSync(file);
  t.after(() => other.close());
  other.exec("BEGIN IMMEDIATE");
  store.append([sampleRecord(), sampleRecord()]);
  store.flush();
  store.append([sampleRecord()]);
  store.flush();
  other.exec("ROLLBACK");
  store.append([sampleRecord({ path: "/after" })]);
  assert.deepEqual(await collect(store.query({}), ({ id, path }) => [id, path]), [[1, "/after"]]);
  assert.deepEqual(store.stats(), { records: 1, appended: 1, dropped: 3 });
  assert.deepEqual(
    logger.lines.map(({ level, message, fields }) => [level, message, fields.lost]),
    [
      ["error", "audit records cannot be written and are dropped", undefined],
      ["info", "audit records are written again", 3],
    ],
  );
});

test("appending to a closed store drops, counts, and does not throw", (t) => {
  const { store } = openTestStore(t);
  store.close();
  store.append([sampleRecord()]);
  store.close();
  assert.equal(store.stats().dropped, 1);
});

/** Runs a writer in a process of its own; it prints the id of each record once that is written. */
function startWriter(file: string, limitKib?: number) {
  const script = fileURLToPath(new URL("../../test/fixture/audit-writer.ts", import.meta.url));
  // Without the signal, a write past the limit fails as one on a full disk does.
  const limit = limitKib === undefined ? "" : `trap '' XFSZ; ulimit -f ${limitKib};`;
  return spawn("bash", ["-c", `${limit} exec "$0" "$1" "$2"`, process.execPath, script, file], { stdio: ["ignore", "pipe", "inherit"] });
}

test("every record that was written is there after kill -9, and the store goes on", async (t) => {
  const file = join(temporaryFolder(t), "audit.sqlite");
  const writer = startWriter(file);
  t.after(() => writer.kill("SIGKILL"));
  let written = 0;
  for await (const line of createInterface({ input: writer.stdout })) {
    written = Number(line);
    if (written > 3000) writer.kill("SIGKILL");
  }
  const { store } = openTestStore(t, { file, clock: systemClock });
  const ids = await collect(store.query({}), ({ id }) => id);
  assert.ok(written > 3000);
  assert.ok(ids.length >= written);
  assert.deepEqual(
    ids,
    Array.from(ids.keys(), (at) => at + 1),
  );
  store.append([sampleRecord()]);
  assert.deepEqual(await collect(store.query({ order: "newest", limit: 1 }), ({ id }) => id), [ids.length + 1]);
});

test("a disk that is full makes the writer drop and count, and neither throw nor damage what is there", async (t) => {
  const file = join(temporaryFolder(t), "audit.sqlite");
  const writer = startWriter(file, 512);
  t.after(() => writer.kill("SIGKILL"));
  let last = "";
  let written = 0;
  const ended = once(writer, "exit");
  for await (const line of createInterface({ input: writer.stdout })) {
    written = Number(line) || written;
    last = line;
    if (line.startsWith("dropped")) writer.kill("SIGTERM");
  }
  await ended;
  assert.match(last, /^dropped [1-9]\d*$/);
  const { store } = openTestStore(t, { file, clock: systemClock });
  assert.ok((await everything(store)).length >= written);
});
