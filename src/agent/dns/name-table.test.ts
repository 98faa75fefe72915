import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { NameTable } from "./name-table.ts";
import type { NameTableChange } from "./names-messages.ts";

function change(names: Readonly<Record<string, readonly string[]>>, more: Partial<NameTableChange> = {}): NameTableChange {
  return { version: "1", whole: true, domain: "cluster.local", closed: true, names: new Map(Object.entries(names)), removed: [], ...more };
}

const NAMES = {
  "cart.shop.svc.cluster.local": ["10.96.0.1"],
  "db.store.svc.cluster.local": ["10.96.0.2"],
  "db-0.db.store.svc.cluster.local": ["10.0.0.2"],
  "pay.example.com": ["240.240.1.1"],
};

const TABLE = NameTable.of(change(NAMES), undefined);

describe("a name of the mesh", () => {
  for (const [name, namespace, host] of [
    ["cart.shop.svc.cluster.local", "other", "cart.shop.svc.cluster.local"],
    ["cart.shop.svc", "other", "cart.shop.svc.cluster.local"],
    ["cart.shop", "other", "cart.shop.svc.cluster.local"],
    ["cart", "shop", "cart.shop.svc.cluster.local"],
    ["cart", "other", undefined],
    ["db-0.db.store", "other", "db-0.db.store.svc.cluster.local"],
    ["db-0.db", "store", "db-0.db.store.svc.cluster.local"],
    ["pay.example.com", "shop", "pay.example.com"],
    ["pay.example", "shop", undefined],
    ["example.com", "shop", undefined],
    ["art.shop", "shop", undefined],
    ["cluster.local", "shop", undefined],
  ] as const) {
    it(`is ${host ?? "none"} where \`${name}\` is asked for in \`${namespace}\``, () => {
      assert.deepEqual(TABLE.lookup(name, namespace, []), host === undefined ? undefined : NAMES[host]);
    });
  }

  it("is what stands before the domain that a resolver appends, of which the first is asked first", () => {
    const search = ["corp.example", "other.example"];
    for (const name of ["pay.example.com.corp.example", "pay.example.com.other.example", "pay.example.com.shop.svc.cluster.local"])
      assert.deepEqual(TABLE.lookup(name, "shop", search), ["240.240.1.1"], name);
    assert.deepEqual(TABLE.lookup("cart.corp.example", "shop", search), ["10.96.0.1"]);
    assert.equal(TABLE.lookup("cart.other.example", "shop", search), undefined);
    assert.equal(TABLE.lookup("cart.third.example", "shop", search), undefined);
  });

  it("is a service's where it is short for one, whatever host somebody else has named so", () => {
    const search = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
    const claimed = { "db.store": ["240.240.6.6"], cart: ["240.240.6.6"], "cart.shop.svc": ["240.240.6.6"], "gone.store": ["240.240.6.6"] };
    const table = NameTable.of(change({ ...NAMES, ...claimed }, { closed: false }), undefined);
    for (const name of ["db.store", "db.store.shop.svc.cluster.local", "db.store.svc.cluster.local"])
      assert.deepEqual(table.lookup(name, "shop", search), ["10.96.0.2"], name);
    for (const name of [
      "cart",
      "cart.shop",
      "cart.shop.svc",
      "cart.shop.svc.cluster.local",
      "cart.shop.svc.cluster.local.shop.svc.cluster.local",
    ])
      assert.deepEqual(table.lookup(name, "shop", search), ["10.96.0.1"], name);
    assert.deepEqual(table.lookup("gone.store", "shop", search), ["240.240.6.6"]);
    assert.equal(table.lookup("gone.store.svc.cluster.local", "shop", search), undefined);
  });

  it("that is not there is nobody else's, unless a cluster's own DNS has more of them", () => {
    const owned = ["missing.shop.svc.cluster.local", "cluster.local", "missing.shop.svc", "missing.shop.svc.cluster.local.b.example"];
    for (const name of owned) assert.ok(TABLE.owns(name, ["a.example", "b.example"]), name);
    for (const name of ["example.com", "notcluster.local", "svc.example.com", ""]) assert.ok(!TABLE.owns(name, ["a.example"]), name);
    const open = NameTable.of(change(NAMES, { closed: false }), undefined);
    for (const name of owned) assert.ok(!open.owns(name, ["b.example"]), name);
  });
});

describe("a change of names", () => {
  it("adds, replaces and removes, and leaves the table before as it was", () => {
    const next = NameTable.of(
      change(
        { "pay.example.com": ["240.240.1.2"], "new.example.com": [] },
        { version: "2", whole: false, removed: ["cart.shop.svc.cluster.local"] },
      ),
      TABLE,
    );
    assert.equal(next.version, "2");
    assert.equal(next.size, 4);
    assert.deepEqual(next.lookup("pay.example.com", "shop", []), ["240.240.1.2"]);
    assert.deepEqual(next.lookup("new.example.com", "shop", []), []);
    assert.equal(next.lookup("cart", "shop", []), undefined);
    assert.deepEqual(TABLE.lookup("cart", "shop", []), ["10.96.0.1"]);
  });

  it("that is whole leaves nothing of what was there", () => {
    assert.equal(NameTable.of(change({ "new.example.com": [] }), TABLE).size, 1);
  });

  it("of what was never sent is refused", () => {
    assert.throws(() => NameTable.of(change({}, { whole: false }), undefined), /changes names that it has not sent/);
  });
});
