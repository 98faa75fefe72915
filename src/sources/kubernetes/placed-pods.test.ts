import assert from "node:assert/strict";
import { test } from "node:test";
import { type ApiObject, readObject } from "./api-objects.ts";
import { PlacedPods } from "./placed-pods.ts";

function pod(name: string, spec: unknown, status: unknown = { phase: "Pending" }): readonly [string, ApiObject] {
  const metadata = { name, namespace: "shop", uid: `uid-${name}`, resourceVersion: "1" };
  return [`shop/${name}`, readObject({ metadata, spec, status }, "Pod", "v1")];
}

const CART = { serviceAccountName: "cart", nodeName: "node-a" };

test("a pod is on its node from when it is given to it, before it has an address, until it has ended", () => {
  const pods = new PlacedPods(
    () =>
      new Map([
        pod("cart", CART),
        pod("plain", { nodeName: "node-b" }),
        pod("waiting", { serviceAccountName: "waiting" }),
        pod("done", { serviceAccountName: "done", nodeName: "node-a" }, { phase: "Succeeded" }),
        pod("failed", { serviceAccountName: "failed", nodeName: "node-a" }, { phase: "Failed" }),
      ]),
  );
  assert.deepEqual(pods.find("shop", "cart"), { uid: "uid-cart", node: "node-a", serviceAccount: "cart" });
  assert.deepEqual(pods.find("shop", "plain")?.serviceAccount, "default");
  const accounts = ["cart", "default", "waiting", "done", "failed"];
  const on = (node: string, namespace = "shop") => accounts.filter((account) => pods.runsOn(node, namespace, account));
  assert.deepEqual([on("node-a"), on("node-b"), on(""), on("node-a", "bank")], [["cart"], ["default"], [], []]);
});

test("what has changed counts at once, and nothing does before the pods were read", () => {
  let objects: Map<string, ApiObject> | undefined;
  const pods = new PlacedPods(() => objects);
  assert.equal(pods.runsOn("node-a", "shop", "cart"), false);
  objects = new Map([pod("cart", CART)]);
  pods.changed();
  assert.equal(pods.runsOn("node-a", "shop", "cart"), true);
  objects.delete("shop/cart");
  pods.changed();
  assert.deepEqual([pods.runsOn("node-a", "shop", "cart"), pods.find("shop", "cart")], [false, undefined]);
});
