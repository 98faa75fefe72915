import assert from "node:assert/strict";
import { test } from "node:test";
import { trustedNodeAccounts } from "./trusted-node-accounts.ts";

test("node proxies come from the command line and from Istio's variable", () => {
  const environment = { CA_TRUSTED_NODE_ACCOUNTS: "istio-system/ztunnel, mesh/node-proxy," };
  assert.deepEqual(trustedNodeAccounts(["kube/agent"], true, environment), ["kube/agent", "istio-system/ztunnel", "mesh/node-proxy"]);
  assert.deepEqual([trustedNodeAccounts([], true, {}), trustedNodeAccounts([], false, { CA_TRUSTED_NODE_ACCOUNTS: "" })], [[], []]);
});

test("what is no account, and any without a cluster, is refused by name", () => {
  assert.throws(() => trustedNodeAccounts(["ztunnel"], true, {}), {
    code: "invalid-argument",
    message: /`ztunnel` is not a service account/,
  });
  assert.throws(() => trustedNodeAccounts(["a/b"], false, {}), {
    message: /`--trusted-node-account` is for a control plane on Kubernetes/,
  });
  assert.throws(() => trustedNodeAccounts([], false, { CA_TRUSTED_NODE_ACCOUNTS: "a/b" }), {
    message: /`CA_TRUSTED_NODE_ACCOUNTS` is for/,
  });
});
