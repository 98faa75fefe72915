import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meta, snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import type { MeshObject } from "../policy/model.ts";
import { reconcile } from "./reconcile.ts";
import { derived, fromOutside, History, narrow } from "./recording.ts";
import type { MeshSnapshot } from "./snapshot.ts";

const service = (name: string): MeshObject => ({ kind: "Service", meta: meta(name), selector: new Map(), ports: [] });
const sidecar = (name: string): MeshObject => ({ kind: "Sidecar", meta: meta(name), selector: new Map(), ingress: [], egress: [] });

/** Hands on one state after another, reconciled, and tells whether each was computed for. */
function stateful(compute: (snapshot: MeshSnapshot) => unknown) {
  const history = new History();
  let computed = 0;
  const kept = narrow((snapshot) => {
    computed += 1;
    return compute(snapshot);
  });
  let snapshot: MeshSnapshot | undefined;
  return (...objects: readonly MeshObject[]): { readonly result: unknown; readonly computed: boolean } => {
    const before = computed;
    snapshot = reconcile(snapshot, snapshotOf(objects));
    const result = kept(history.advance(snapshot));
    return { result, computed: computed > before };
  };
}

const hasService = narrow((snapshot, name: string) => snapshot.services.some(({ meta: { name: own } }) => own === name));

describe("a kept result", () => {
  it("is computed again when a field that was read has changed, and not for another field", () => {
    const next = stateful((snapshot) => snapshot.services.length);
    assert.deepEqual(next(service("a/x")), { result: 1, computed: true });
    assert.deepEqual(next(service("a/x"), sidecar("a/x")), { result: 1, computed: false });
    assert.deepEqual(next(service("a/x"), service("a/y")), { result: 2, computed: true });
  });

  it("holds while the answer of a narrow query is the same, whatever else the query looks through", () => {
    const next = stateful((snapshot) => hasService(snapshot, "x"));
    assert.deepEqual(next(service("a/x")), { result: true, computed: true });
    assert.deepEqual(next(service("a/x"), service("a/y")), { result: true, computed: false });
    assert.deepEqual(next(service("a/y")), { result: false, computed: true });
  });

  it("follows a query that comes to the same answer by reading another field", () => {
    const both = narrow((snapshot) => snapshot.services.length > 0 && snapshot.sidecars.length > 0);
    const next = stateful((snapshot) => both(snapshot));
    assert.deepEqual(next(), { result: false, computed: true });
    assert.deepEqual(next(service("a/x")), { result: false, computed: false });
    assert.deepEqual(next(service("a/x"), sidecar("a/x")), { result: true, computed: true });
  });

  it("depends on what queries inside a query read", () => {
    const outer = narrow((snapshot) => (hasService(snapshot, "x") ? "yes" : "no"));
    const next = stateful((snapshot) => outer(snapshot));
    assert.deepEqual(next(), { result: "no", computed: true });
    assert.deepEqual(next(service("a/x")), { result: "yes", computed: true });
  });

  it("of a query is found once for all who ask, and again only when what it read itself is different", () => {
    let asked = 0;
    const names = narrow((snapshot) => {
      asked += 1;
      return snapshot.services.map(({ meta: { name } }) => name);
    });
    const first = stateful((snapshot) => names(snapshot).length);
    const both = stateful((snapshot) => [named(snapshot, "x"), named(snapshot, "y"), names(snapshot).length].join());
    const named = narrow((snapshot, name: string) => names(snapshot).includes(name));
    first(service("a/x"));
    assert.equal(asked, 1);
    assert.deepEqual(both(service("a/x")), { result: "true,false,1", computed: true });
    assert.equal(asked, 2);
    assert.deepEqual(both(service("a/x"), sidecar("a/x")), { result: "true,false,1", computed: false });
    assert.equal(asked, 2);
    assert.deepEqual(both(service("a/x"), service("a/y")), { result: "true,true,2", computed: true });
    assert.equal(asked, 3);
  });

  it("is the same object where a query makes the same data again", () => {
    const data = derived((snapshot) => ({ services: snapshot.services.map(({ meta: { name } }) => ({ name })), all: true }));
    const next = stateful((snapshot) => data(snapshot));
    const before = next(service("a/x")).result as ReturnType<typeof data>;
    assert.deepEqual(next(service("b/x")), { result: before, computed: false });
    const after = next(service("b/x"), service("b/y")).result as ReturnType<typeof data>;
    assert.deepEqual(after.services, [{ name: "x" }, { name: "y" }]);
    assert.equal(after.services[0], before.services[0]);
  });

  it("asks outside again with every state", () => {
    let answer = 1;
    const next = stateful((snapshot) => fromOutside(snapshot, () => answer));
    assert.deepEqual(next(), { result: 1, computed: true });
    assert.deepEqual(next(), { result: 1, computed: false });
    answer = 2;
    assert.deepEqual(next(), { result: 2, computed: true });
  });

  it("is not kept when a computation throws", () => {
    let broken = false;
    const next = stateful((snapshot) => {
      if (broken) throw new Error("broken");
      return snapshot.services.length;
    });
    next();
    broken = true;
    assert.throws(() => next(service("a/x")), /broken/);
    broken = false;
    assert.deepEqual(next(), { result: 0, computed: true });
  });
});

describe("a watched answer", () => {
  /** Tells how often each answer may have changed, and was asked, with one state after another. */
  function watched(query: (snapshot: MeshSnapshot) => unknown) {
    const history = new History();
    const told = { reached: 0, asked: 0 };
    const kept = narrow((snapshot) => {
      told.asked += 1;
      return query(snapshot);
    });
    let snapshot: MeshSnapshot | undefined;
    const next = (...objects: readonly MeshObject[]) => {
      snapshot = reconcile(snapshot, snapshotOf(objects));
      return history.advance(snapshot);
    };
    kept(next(service("a/x"), sidecar("a/x")));
    const answer = history.answerOf(kept);
    answer.watchedBy(() => {
      told.reached += 1;
    }, history);
    return { history, answer, kept, next, told };
  }

  it("is reached by what changes an answer that it read, and by nothing else, without being asked", () => {
    const { next, told } = watched((snapshot) => (hasService(snapshot, "x") ? snapshot.sidecars.length : 0));
    next(service("a/x"), service("a/y"), sidecar("a/x"));
    assert.deepEqual(told, { reached: 0, asked: 1 });
    next(service("a/y"), sidecar("a/x"));
    assert.deepEqual(told, { reached: 1, asked: 1 });
  });

  it("follows what it reads since it was asked again, and no longer what it read before", () => {
    const { kept, next, told } = watched((snapshot) => (hasService(snapshot, "x") ? hasService(snapshot, "y") : hasService(snapshot, "z")));
    kept(next(sidecar("a/x")));
    assert.deepEqual(told, { reached: 1, asked: 2 });
    next(service("a/y"));
    assert.deepEqual(told, { reached: 1, asked: 2 });
    next(service("a/z"));
    assert.deepEqual(told, { reached: 2, asked: 2 });
  });

  it("is reached where a query that it read throws", () => {
    const strict = narrow((snapshot) => {
      if (snapshot.services.length > 1) throw new Error("too many");
      return 1;
    });
    const { kept, next, told } = watched((snapshot) => strict(snapshot));
    const now = next(service("a/x"), service("a/y"));
    assert.equal(told.reached, 1);
    assert.throws(() => kept(now), /too many/);
    assert.equal(kept(next(service("a/x"))), 1);
  });

  it("is not followed once nobody watches it: nothing keeps what is of workloads that are gone", () => {
    const { history, answer, next, told } = watched((snapshot) => hasService(snapshot, "x"));
    answer.unwatch(history);
    next();
    assert.equal(told.reached, 0);
    assert.equal(history.readers.of(~0 >>> 1).size, 0);
  });
});

describe("reconciling two states", () => {
  it("keeps all others where an object is put in or taken out of a list", () => {
    const [x, y, z] = [service("a/x"), service("a/y"), service("a/z")];
    for (const [left, right] of [
      [
        [x, z],
        [x, y, z],
      ],
      [
        [x, y, z],
        [x, z],
      ],
      [[x, y], [y]],
      [[y], [x, y]],
    ] as const) {
      const after = reconcile(structuredClone(left), structuredClone(right));
      const merged = reconcile(left, structuredClone(right));
      assert.deepEqual(merged, after);
      assert.deepEqual(
        merged.filter((one) => [x, y, z].includes(one)),
        left.filter((one) => (right as readonly MeshObject[]).includes(one)),
      );
    }
  });

  const objects = [workloadEntry("a/x"), workloadEntry("a/y"), service("a/x")];

  it("gives the former where all is equal, though made anew", () => {
    const before = snapshotOf(objects);
    assert.equal(reconcile(before, snapshotOf(structuredClone(objects))), before);
  });

  it("keeps what is equal and takes what is not", () => {
    const before = snapshotOf(objects);
    const after = reconcile(before, snapshotOf([workloadEntry("a/x"), workloadEntry("a/y", { address: "10.0.0.7" }), service("a/x")]));
    assert.equal(after.services, before.services);
    assert.notEqual(after.workloads, before.workloads);
    assert.equal(after.workloads.get("a/x"), before.workloads.get("a/x"));
    assert.equal(after.workloads.get("a/y")?.address, "10.0.0.7");
  });

  for (const [what, left, right] of [
    ["a key more", { a: 1 }, { a: 1, b: undefined }],
    ["a key less", { a: 1, b: undefined }, { a: 1 }],
    ["an item more", [1], [1, 2]],
    ["an item less", [1, 2], [1]],
    [
      "an order of a map",
      new Map([
        ["a", 1],
        ["b", 2],
      ]),
      new Map([
        ["b", 2],
        ["a", 1],
      ]),
    ],
    ["another kind", [], {}],
    ["a member", new Set([1]), new Set([2])],
    ["objects of classes", new Date(0), new Date(0)],
  ] as const) {
    it(`tells ${what} apart`, () => assert.equal(reconcile<unknown>(left, right) === left, false));
  }
});
