import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { collect, NOON, openTestStore, sampleRecord } from "../../test/fixture/audit-store.ts";
import type { AuditFilter } from "./filter.ts";
import type { NewAuditRecord } from "./record.ts";
import type { AuditStore } from "./store.ts";

const A = sampleRecord({ path: "/a", caller: "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend" });
const B = sampleRecord({ path: "/b", caller: "spiffe://other.example/ns/photo-ns/sa/photo-frontend", effect: "deny", origin: "default" });
const C = sampleRecord({ path: "/b/c", caller: "", effect: "refused", origin: "", service: "x/y", workload: "x/y-1", time: NOON - 5000 });
const D = sampleRecord({
  path: "/b%_",
  method: "POST",
  effect: "deny",
  origin: "photo-ns/backend[10]",
  time: NOON - 1000,
  dryRun: "deny",
  dryRunOrigin: "a/b[0]",
});
const E = sampleRecord({ path: "", protocol: "tcp", method: "", origin: "photo-ns/backend-2[0]", dryRun: "deny", dryRunOrigin: "a/b[0]" });

/** Which of A to E (numbered from 1) a filter finds. */
const CASES: readonly (readonly [string, AuditFilter, readonly number[]])[] = [
  ["nothing finds everything, the oldest first", {}, [1, 2, 3, 4, 5]],
  ["the newest first", { order: "newest" }, [5, 4, 3, 2, 1]],
  ["a limit ends it", { limit: 2 }, [1, 2]],
  ["a limit with the newest first", { limit: 2, order: "newest" }, [5, 4]],
  ["after an id", { afterId: 3 }, [4, 5]],
  ["since is inclusive and goes by the record's own time", { since: NOON - 1000 }, [1, 2, 4, 5]],
  ["until is exclusive", { until: NOON - 1000 }, [3]],
  ["a range of time", { since: NOON - 1000, until: NOON }, [4]],
  ["a time to come finds nothing", { since: NOON + 1 }, []],
  ["workload", { workload: "x/y-1" }, [3]],
  ["service", { service: "x/y" }, [3]],
  ["a caller's whole SPIFFE ID", { caller: { kind: "spiffe-id", id: B.caller } }, [2]],
  [
    "a service account in any trust domain",
    { caller: { kind: "service-account", namespace: "photo-ns", name: "photo-frontend" } },
    [1, 2, 4, 5],
  ],
  [
    "a service account is not found by a part of its name",
    { caller: { kind: "service-account", namespace: "photo-ns", name: "photo" } },
    [],
  ],
  ["callers without identity", { caller: { kind: "none" } }, [3]],
  ["denied", { effect: "deny" }, [2, 4]],
  ["refused", { effect: "refused" }, [3]],
  ["allowed", { effect: "allow" }, [1, 5]],
  ["allowed, and denied by a dry run", { wouldDeny: true }, [5]],
  ["method", { method: "POST" }, [4]],
  ["an exact path", { path: { kind: "exact", value: "/b" } }, [2]],
  ["a path's beginning", { path: { kind: "prefix", value: "/b" } }, [2, 3, 4]],
  ["wildcards of SQL in a path are plain characters", { path: { kind: "prefix", value: "/b%_" } }, [4]],
  ["one rule", { origin: "photo-ns/backend[10]" }, [4]],
  ["all rules of a policy, and not those of one with a longer name", { origin: "photo-ns/backend" }, [1, 4]],
  ["the default", { origin: "default" }, [2]],
  [
    "everything that is given must hold",
    { effect: "deny", method: "POST", caller: { kind: "spiffe-id", id: D.caller }, since: NOON - 2000 },
    [4],
  ],
  ["a text with a quote is only a text", { workload: "x' OR '1'='1" }, []],
];

for (const [name, filter, expected] of CASES) {
  test(`query: ${name}`, async (t) => {
    const { store } = openTestStore(t);
    store.append([A, B, C, D, E]);
    assert.deepEqual(await collect(store.query(filter), ({ id }) => id), expected);
  });
}

test("a hundred thousand records are asked without holding up others for long, whatever is looked for", async (t) => {
  const { store } = openTestStore(t);
  for (let at = 0; at < 100; at++) {
    const rare: Partial<NewAuditRecord> = at === 50 ? { effect: "deny", path: "/rare" } : {};
    store.append(
      Array.from({ length: 999 }, () => sampleRecord({ workload: `w/${at % 7}` })).concat(sampleRecord({ workload: "w/0", ...rare })),
    );
  }
  let turns = 0;
  let worst = 0;
  let running = true;
  const watch = async () => {
    for (let last = performance.now(); running; turns++) {
      await nextTurn();
      worst = Math.max(worst, performance.now() - last);
      last = performance.now();
    }
  };
  store.flush();
  const watching = watch();
  assert.deepEqual(await collect(store.query({ path: { kind: "exact", value: "/rare" } }), ({ id }) => id), [51_000]);
  assert.deepEqual(await collect(store.query({ effect: "deny", order: "newest" }), ({ id }) => id), [51_000]);
  assert.equal((await collect(store.query({ workload: "w/0", limit: 100_000 }), ({ id }) => id)).length > 14_000, true);
  assert.equal((await collect(store.query({}), ({ id }) => id)).length, 100_000);
  running = false;
  await watching;
  assert.ok(turns > 200, `others had ${turns} turns`);
  assert.ok(worst < 2000, `others waited ${worst} ms`);
});

/** Follows until so many have come. */
function follow(store: AuditStore, filter: AuditFilter, signal = new AbortController().signal) {
  return collect(store.follow(filter, signal), ({ id }) => id);
}

const upTo = (count: number, first = 1) => Array.from({ length: count }, (_, at) => first + at);

test("a follower loses and repeats nothing while others append at once", async (t) => {
  const { store } = openTestStore(t);
  store.append([sampleRecord()]);
  const followers = [
    follow(store, { afterId: 0, limit: 3001 }),
    follow(store, { limit: 3000 }),
    follow(store, { afterId: 0, effect: "deny", limit: 300 }),
  ];
  const writer = async (turns: number) => {
    for (let at = 0; at < turns; at++) {
      store.append(Array.from({ length: 10 }, (_, n) => sampleRecord(n === 3 ? { effect: "deny" } : {})));
      await nextTurn();
    }
  };
  await nextTurn();
  await Promise.all([writer(100), writer(100), writer(100)]);
  const [all, fresh, denied] = await Promise.all(followers);
  assert.deepEqual(all, upTo(3001));
  assert.deepEqual(fresh, upTo(3000, 2));
  const expected = await collect(store.query({ effect: "deny" }), ({ id }) => id);
  assert.equal(expected.length, 300);
  assert.deepEqual(denied, expected);
});

test("a follower that begins in the past tells what is there and then what comes", async (t) => {
  const { store, clock } = openTestStore(t);
  store.append([sampleRecord()]);
  store.flush();
  clock.time += 1000;
  store.append([sampleRecord({ time: clock.time })]);
  const following = follow(store, { since: clock.time, limit: 2 });
  await nextTurn();
  store.append([sampleRecord({ time: clock.time })]);
  assert.deepEqual(await following, [2, 3]);
});

test("a follower that falls behind retention goes on with what is left", async (t) => {
  const { store } = openTestStore(t, { maxRecords: 5 });
  const records = store.follow({ afterId: 0, limit: 7 }, new AbortController().signal);
  const found: number[] = [];
  store.append([sampleRecord()]);
  for await (const { id } of records) {
    found.push(id);
    for (let at = 0; id === 1 && at < 20; at++) {
      store.append([sampleRecord()]);
      store.flush();
    }
    if (id === 21) store.append([sampleRecord()]);
  }
  assert.deepEqual(found, [1, 17, 18, 19, 20, 21, 22]);
});

test("a follower ends with its signal, also one that was given before", async (t) => {
  const { store } = openTestStore(t);
  const stop = new AbortController();
  const following = follow(store, {}, stop.signal);
  await nextTurn();
  stop.abort();
  assert.deepEqual(await following, []);
  assert.deepEqual(await follow(store, {}, stop.signal), []);
});

test("followers and queries end when the store is closed", async (t) => {
  const { store } = openTestStore(t);
  const following = follow(store, {});
  await nextTurn();
  store.close();
  assert.deepEqual(await following, []);
  assert.deepEqual(await follow(store, {}), []);
  assert.deepEqual(await collect(store.query({}), ({ id }) => id), []);
});

test("records are also told with the times of their arrival, which never go back, though the clock and their own times do", async (t) => {
  const { store, clock } = openTestStore(t);
  for (const seconds of [0, 10, -60]) {
    clock.time += seconds * 1000;
    store.append([sampleRecord({ time: NOON - 3_600_000 })]);
    store.flush();
  }
  const arrived = await collect(store.queryArrived({ order: "newest" }), ({ received, record }) => [record.id, received]);
  assert.deepEqual(arrived, [
    [3, NOON + 10_000],
    [2, NOON + 10_000],
    [1, NOON],
  ]);
  assert.deepEqual(
    await collect(store.queryArrived({ limit: 1 }), ({ record }) => record),
    await collect(store.query({ limit: 1 }), (record) => record),
  );
});
