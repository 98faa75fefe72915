import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import { admitProxy } from "./admission.ts";

const SNAPSHOT = snapshotOf([workloadEntry("shop/cart"), workloadEntry("shop/pay", { serviceAccount: "payments" })]);
const CART = "spiffe://cluster.local/ns/shop/sa/cart";

function node(fields: Readonly<Record<string, unknown>>) {
  return {
    id: "sidecar~10.0.0.1~cart.shop~shop.svc.cluster.local",
    metadata: { NAMESPACE: "shop", WORKLOAD_NAME: "cart", GARRISON_PROXY: "envoy", ...fields },
  };
}

describe("admitProxy", () => {
  it("admits the identity of the workload that the node claims to be", () => {
    assert.deepEqual(admitProxy(SNAPSHOT, CART, node({})), { workload: "shop/cart", kind: "envoy" });
  });

  it("refuses another workload's identity (CA-17)", () => {
    assert.throws(() => admitProxy(SNAPSHOT, CART, node({ WORKLOAD_NAME: "pay" })), { code: "permission-denied" });
  });

  it("answers the same for a workload that does not exist, so that nothing is learnt", () => {
    const message = (name: string) => `\`${CART}\` is not the identity of a workload \`shop/${name}\``;
    assert.throws(() => admitProxy(SNAPSHOT, CART, node({ WORKLOAD_NAME: "pay" })), { message: message("pay") });
    assert.throws(() => admitProxy(SNAPSHOT, CART, node({ WORKLOAD_NAME: "ghost" })), { message: message("ghost") });
  });

  it("refuses the same account of another trust domain", () => {
    assert.throws(() => admitProxy(SNAPSHOT, "spiffe://evil.example/ns/shop/sa/cart", node({})), { code: "permission-denied" });
  });

  for (const field of ["NAMESPACE", "WORKLOAD_NAME", "GARRISON_PROXY"]) {
    it(`refuses a node without ${field}`, () => {
      assert.throws(() => admitProxy(SNAPSHOT, CART, node({ [field]: undefined })), { code: "invalid-argument" });
      assert.throws(() => admitProxy(SNAPSHOT, CART, node({ [field]: 7 })), { code: "invalid-argument" });
      assert.throws(() => admitProxy(SNAPSHOT, CART, node({ [field]: "x".repeat(401) })), { code: "invalid-argument" });
    });
  }

  it("refuses a kind of proxy that it does not know", () => {
    assert.throws(() => admitProxy(SNAPSHOT, CART, node({ GARRISON_PROXY: "nginx" })), { code: "invalid-argument" });
  });
});
