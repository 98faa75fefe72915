import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SETTINGS, workloadEntry } from "../../test/fixture/objects.ts";
import { buildSnapshot } from "../mesh/snapshot.ts";
import { cutOffBy, ownCutOff } from "./rotation-checks.ts";
import type { HolderStatus } from "./trust-status.ts";

const [OLD, NEW] = ["aa", "bb"];
const UNTIL = Date.UTC(2026, 10, 23);
const snapshot = buildSnapshot(SETTINGS, [workloadEntry("shop/cart"), workloadEntry("shop/web")]);
const identityOf = (workload: string) => snapshot.workloads.get(workload)?.identity ?? "";

function holder(workload: string, authority: string): HolderStatus {
  return { workload, identity: identityOf(workload), serial: "5e", authority, roots: [OLD, NEW], current: true, refusal: "" };
}

const live = (...workloads: readonly string[]) =>
  workloads.map((workload) => ({ identity: identityOf(workload), certificates: 1, until: UNTIL }));

describe("who is cut off when an authority is revoked", () => {
  test("nobody, when every workload with unexpired certificates of it is connected with one of another", () => {
    assert.deepEqual(cutOffBy(OLD, live("shop/cart"), [holder("shop/cart", NEW)], snapshot), []);
    assert.deepEqual(cutOffBy(OLD, [], [holder("shop/cart", NEW)], snapshot), []);
  });

  test("who is away, who uses one still or has not said what it uses, each with the reason", () => {
    const cases = [
      [[], "not connected: shop/cart"],
      [[holder("shop/cart", OLD)], "not renewed: shop/cart"],
      [[holder("shop/cart", "")], "not renewed: shop/cart"],
      [[holder("shop/cart", NEW), holder("shop/cart", OLD)], "not renewed: shop/cart"],
    ] as const;
    for (const [holders, why] of cases) {
      const [found, ...others] = cutOffBy(OLD, live("shop/cart"), holders, snapshot);
      assert.deepEqual([found?.why, others], [`${why} (1 certificate, until 2026-11-23T00:00:00.000Z)`, []]);
    }
  });

  test("an identity of which the mesh has no workload, as nobody tells of its certificates", () => {
    const stranger = { identity: "spiffe://cluster.local/ns/shop/sa/job", certificates: 3, until: UNTIL };
    const [found] = cutOffBy(OLD, [stranger], [holder("shop/cart", NEW)], snapshot);
    assert.match(found?.why ?? "", /^no workload of the mesh has this identity, .* \(3 certificates, /);
  });

  test("the control plane itself, only where its own certificate is of it and cannot be renewed", () => {
    const own = { identity: "spiffe://cluster.local/ns/istio-system/sa/garrison", serial: "5e", authority: OLD, notAfter: UNTIL };
    assert.deepEqual(ownCutOff(OLD, own), []);
    assert.deepEqual(ownCutOff(OLD, { ...own, authority: NEW, problem: "the identity is revoked" }), []);
    const [found] = ownCutOff(OLD, { ...own, problem: "the identity is revoked" });
    assert.equal(found?.identity, own.identity);
    assert.match(found?.why ?? "", /was not renewed: the identity is revoked; every agent would be cut off$/);
  });

  test("an agent that uses one which the ledger does not have", () => {
    assert.deepEqual(cutOffBy(OLD, [], [holder("shop/web", OLD)], snapshot), [
      { identity: identityOf("shop/web"), workload: "shop/web", authority: OLD, why: "uses a certificate of it" },
    ]);
  });
});
