import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { collect, openTestStore, sampleRecord } from "../../test/fixture/audit-store.ts";
import type { Delivery } from "./delivery.ts";
import type { EntryMeaning } from "./record.ts";
import type { AuditStore } from "./store.ts";

const WORKLOAD = "photo-ns/photo-backend";

/** Requests whose paths are their numbers. */
function delivery(first: number, last: number, other: Partial<Delivery> = {}): Delivery {
  const meanings = Array.from({ length: last - first + 1 }, (_, at): EntryMeaning => {
    return { kind: "record", record: sampleRecord({ path: `/${first + at}` }) };
  });
  return { workload: WORKLOAD, reporter: "envoy", run: "one", first, count: meanings.length, meanings, lost: 0, ...other };
}

const said = (store: AuditStore) =>
  collect(store.query({}), ({ effect, path, detail }) => (effect === "lost" ? detail.split(":")[0] : path));

test("what is delivered is written by the time that it is acknowledged", async (t) => {
  const { store, file } = openTestStore(t);
  await store.deliver(delivery(1, 3));
  const other = new DatabaseSync(file, { readOnly: true });
  t.after(() => other.close());
  assert.equal(other.prepare("SELECT count(*) AS count FROM record").get()?.count, 3);
});

test("what comes twice is written once: the whole, a part, in one turn, and after a restart", async (t) => {
  const { store, file } = openTestStore(t);
  await Promise.all([store.deliver(delivery(1, 3)), store.deliver(delivery(1, 3)), store.deliver(delivery(2, 4))]);
  store.close();
  const { store: again } = openTestStore(t, { file });
  await again.deliver(delivery(3, 5));
  assert.deepEqual(await said(again), ["/1", "/2", "/3", "/4", "/5"]);
});

test("numbers are a run's and a workload's own", async (t) => {
  const { store } = openTestStore(t);
  await store.deliver(delivery(1, 1));
  await store.deliver(delivery(1, 1, { run: "two" }));
  await store.deliver(delivery(1, 1, { workload: "photo-ns/other" }));
  assert.equal((await said(store)).length, 3);
});

test("what was lost is in the record, in its place and once", async (t) => {
  const { store } = openTestStore(t);
  await store.deliver(delivery(1, 1));
  await store.deliver(delivery(12, 12, { lost: 10 }));
  await store.deliver(delivery(12, 13, { lost: 10 }));
  assert.deepEqual(await said(store), ["/1", "10 records", "/12", "/13"]);
  const [lost] = await collect(store.query({ effect: "lost" }), (record) => record);
  assert.deepEqual([lost?.workload, lost?.reporter, lost?.caller, lost?.id], [WORKLOAD, "envoy", "", 2]);
});

test("what its reporter takes for lost, and arrived, is not", async (t) => {
  const { store } = openTestStore(t);
  await store.deliver(delivery(1, 5));
  // It never heard of 1 to 5, and dropped 3 more.
  await store.deliver(delivery(9, 9, { lost: 8 }));
  await store.deliver(delivery(10, 10, { lost: 9 }));
  assert.deepEqual(await said(store), ["/1", "/2", "/3", "/4", "/5", "3 records", "/9", "/10"]);
});

test("of a reporter that nobody here has heard of, what it says is lost is lost", async (t) => {
  const { store } = openTestStore(t);
  await store.deliver(delivery(500, 500, { lost: 20 }));
  assert.deepEqual(await said(store), ["20 records", "/500"]);
});

test("a connection's end that comes with its beginning, or later, completes it", async (t) => {
  const { store } = openTestStore(t);
  const end: EntryMeaning = {
    kind: "end",
    end: { workload: WORKLOAD, connection: "c", bytesReceived: 7, bytesSent: 8, durationMicros: 9 },
  };
  const begin: EntryMeaning = { kind: "record", record: sampleRecord({ protocol: "tcp", connection: "c" }) };
  await store.deliver(delivery(1, 0, { count: 2, meanings: [begin, { kind: "nothing" }] }));
  await store.deliver(delivery(3, 0, { count: 1, meanings: [end] }));
  await store.deliver(delivery(4, 4));
  assert.deepEqual(await collect(store.query({}), ({ bytesReceived, durationMicros }) => [bytesReceived, durationMicros]), [
    [7, 9],
    [0, 1500],
  ]);
});

test("what cannot be written is refused, and written when it comes again", async (t) => {
  const { store, file } = openTestStore(t);
  const blocker = new DatabaseSync(file);
  t.after(() => blocker.close());
  blocker.exec("BEGIN IMMEDIATE");
  await assert.rejects(store.deliver(delivery(1, 2)), { code: "unavailable" });
  blocker.exec("COMMIT");
  await store.deliver(delivery(1, 2));
  assert.deepEqual(await said(store), ["/1", "/2"]);
  assert.equal(store.stats().dropped, 0);
  store.close();
  await assert.rejects(store.deliver(delivery(3, 3)), { code: "unavailable" });
});

test("the numbers of old runs, and of too many of one workload, are forgotten", async (t) => {
  const { store, file, clock } = openTestStore(t);
  const runs = () => {
    const db = new DatabaseSync(file, { readOnly: true });
    const rows = db.prepare("SELECT run FROM delivery ORDER BY received, run").all();
    db.close();
    return rows.map(({ run }) => run);
  };
  for (let run = 0; run < 100; run++) {
    clock.time++;
    await store.deliver(delivery(1, 1, { run: `run-${run}` }));
  }
  assert.deepEqual([runs().length, runs()[0]], [64, "run-36"]);
  clock.time += 8 * 24 * 3_600_000;
  await store.deliver(delivery(1, 1, { run: "new" }));
  assert.deepEqual(runs(), ["new"]);
});
