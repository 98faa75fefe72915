import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import type { BoundPod, Proof } from "./authenticators.ts";
import { NodeProxies, type PlacedPod } from "./node-proxies.ts";

const ZTUNNEL = "spiffe://cluster.local/ns/istio-system/sa/ztunnel";
const CART = "spiffe://cluster.local/ns/shop/sa/cart";

/** By `NAMESPACE/NAME`. */
const PODS: Readonly<Record<string, PlacedPod>> = {
  "istio-system/ztunnel-a": { uid: "a", node: "node-a", serviceAccount: "ztunnel" },
  "istio-system/ztunnel-b": { uid: "b", node: "node-b", serviceAccount: "ztunnel" },
  "istio-system/other": { uid: "o", node: "node-a", serviceAccount: "other" },
  "shop/cart-1": { uid: "c", node: "node-a", serviceAccount: "cart" },
  "shop/gone-1": { uid: "g", node: "node-a", serviceAccount: "gone" },
};

const proxies = new NodeProxies({
  accounts: new Set(["istio-system/ztunnel"]),
  pods: {
    find: (namespace, name) => PODS[`${namespace}/${name}`],
    runsOn: (node, namespace, account) =>
      Object.entries(PODS).some(([key, pod]) => key.startsWith(`${namespace}/`) && pod.node === node && pod.serviceAccount === account),
  },
  knows: (identity) => identity.serviceAccount !== "gone",
});

const proof = (pod: BoundPod | undefined, identity = ZTUNNEL): Proof => ({
  identity: parseSpiffeId(identity),
  by: "token",
  ...(pod === undefined ? {} : { pod }),
});

describe("a node proxy", () => {
  test("may have the certificates of the pods of its own node", () => {
    proxies.check(proof({ name: "ztunnel-a", uid: "a" }), parseSpiffeId(CART));
    proxies.check(proof({ name: "ztunnel-a", uid: "a", node: "node-a" }), parseSpiffeId(CART));
  });

  for (const [what, caller, asked, why] of [
    [
      "an account that is not named",
      proof({ name: "cart-1", uid: "c" }, CART),
      ZTUNNEL,
      /neither a registration authority nor a node proxy/,
    ],
    [
      "one whose workload runs on another node alone",
      proof({ name: "ztunnel-b", uid: "b" }),
      CART,
      /no pod of `.*sa\/cart` runs on the caller's node `node-b`/,
    ],
    ["an identity of no pod", proof({ name: "ztunnel-a", uid: "a" }), CART.replace("cart", "nobody"), /no pod of/],
    ["an identity of another namespace", proof({ name: "ztunnel-a", uid: "a" }), CART.replace("shop", "bank"), /no pod of/],
    ["an identity whose account is gone", proof({ name: "ztunnel-a", uid: "a" }), CART.replace("cart", "gone"), /no pod of/],
    [
      "an identity of another trust domain",
      proof({ name: "ztunnel-a", uid: "a" }),
      CART.replace("cluster.local", "other.example"),
      /another trust domain/,
    ],
    ["a certificate, or a token of no pod", proof(undefined), CART, /is not bound to a pod/],
    ["a token of a pod that is gone", proof({ name: "ztunnel-c", uid: "c" }), CART, /`istio-system\/ztunnel-c` is not there/],
    ["a token of an earlier pod of that name", proof({ name: "ztunnel-a", uid: "z" }), CART, /is not there/],
    ["a token of a pod of another account", proof({ name: "other", uid: "o" }), CART, /has another service account/],
    [
      "a token of another node than its pod's",
      proof({ name: "ztunnel-a", uid: "a", node: "node-b" }),
      CART,
      /of another node than its pod/,
    ],
  ] as const) {
    test(`is refused: ${what}`, () => {
      assert.throws(
        () => proxies.check(caller, parseSpiffeId(asked)),
        { code: "unauthenticated", message: why },
        formatSpiffeId(caller.identity),
      );
    });
  }
});
