import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import type { ClientTls, DestinationRuleObject, MeshObject } from "../policy/model.ts";
import { destinationRuleOf } from "./destination-rules.ts";
import { meshServices } from "./registry.ts";

const TLS: ClientTls = { mode: "DISABLE" };

function rule(key: string, host: string, more: Partial<DestinationRuleObject> = {}): DestinationRuleObject {
  return {
    kind: "DestinationRule",
    meta: meta(key),
    host,
    selector: new Map(),
    exportTo: [],
    trafficPolicy: { tls: TLS, ports: new Map() },
    ...more,
  };
}

const SERVICE: MeshObject = { kind: "Service", meta: meta("bank/pay"), selector: labels({ app: "pay" }), ports: [] };

/** The name of the rule that a client of namespace `shop`, or another, follows for `pay.bank`. */
function chosen(rules: readonly DestinationRuleObject[], client = "shop/cart"): string | undefined {
  const snapshot = snapshotOf([workloadEntry(client), SERVICE, ...rules]);
  const workload = snapshot.workloads.get(client);
  const [service] = meshServices(snapshot);
  assert.ok(workload && service);
  const found = destinationRuleOf(snapshot, workload, service);
  return found && `${found.meta.namespace}/${found.meta.name}`;
}

const HOST = "pay.bank.svc.cluster.local";

describe("destinationRuleOf", () => {
  it("asks the client's namespace, then the service's, then the root namespace", () => {
    const [own, owner, root] = [rule("shop/a", HOST), rule("bank/a", HOST), rule("istio-system/a", HOST)];
    assert.equal(chosen([root, owner, own]), "shop/a");
    assert.equal(chosen([root, owner]), "bank/a");
    assert.equal(chosen([root]), "istio-system/a");
    assert.equal(chosen([rule("other/a", HOST)]), undefined);
  });

  it("takes a name without a dot for a service of the rule's namespace", () => {
    assert.equal(chosen([rule("bank/a", "pay")]), "bank/a");
    assert.equal(chosen([rule("shop/a", "pay")]), undefined);
  });

  it("takes the most specific host, and a wildcard of a nearer namespace before a whole name of a farther one", () => {
    const wide = rule("shop/wide", "*.local");
    const narrow = rule("shop/narrow", "*.bank.svc.cluster.local");
    assert.equal(chosen([wide, narrow]), "shop/narrow");
    assert.equal(chosen([rule("shop/all", "*"), wide]), "shop/wide");
    assert.equal(chosen([wide, narrow, rule("shop/whole", HOST)]), "shop/whole");
    assert.equal(chosen([wide, rule("bank/whole", HOST)]), "shop/wide");
  });

  it("takes the oldest of equals that has a traffic policy", () => {
    const [first, second] = [
      rule("shop/b", HOST, { meta: meta("shop/b", { created: 1 }) }),
      rule("shop/a", HOST, { meta: meta("shop/a", { created: 2 }) }),
    ];
    assert.equal(chosen([second, first]), "shop/b");
    assert.equal(chosen([second, { ...first, trafficPolicy: undefined }]), "shop/a");
    assert.equal(chosen([{ ...first, trafficPolicy: undefined }]), undefined);
  });

  it("takes an invalid rule for one with a traffic policy, so that no other opens what it closes", () => {
    const broken = rule("shop/b", HOST, { meta: meta("shop/b", { created: 1 }), trafficPolicy: "invalid" });
    assert.equal(chosen([rule("shop/a", HOST, { meta: meta("shop/a", { created: 2 }) }), broken]), "shop/b");
  });

  it("sees rules of other namespaces only where they are exported", () => {
    assert.equal(chosen([rule("bank/a", HOST, { exportTo: ["."] })]), undefined);
    assert.equal(chosen([rule("bank/a", HOST, { exportTo: ["bank"] })]), undefined);
    assert.equal(chosen([rule("bank/a", HOST, { exportTo: ["shop"] })]), "bank/a");
    assert.equal(chosen([rule("bank/a", HOST, { exportTo: ["*"] })]), "bank/a");
    assert.equal(chosen([rule("shop/a", HOST, { exportTo: ["bank"] })]), undefined);
    assert.equal(chosen([rule("istio-system/a", HOST, { exportTo: ["."] })]), undefined);
  });

  it("lets a rule for some clients go before one for all, and keeps it to its own namespace", () => {
    const all = rule("shop/all", HOST);
    const some = (key: string, app: string) => rule(key, HOST, { selector: labels({ app }) });
    assert.equal(chosen([all, some("shop/some", "cart")]), "shop/some");
    assert.equal(chosen([all, some("shop/some", "other")]), "shop/all");
    assert.equal(chosen([some("bank/some", "cart")]), undefined);
  });

  it("gives a client in the root namespace what is private there, and else what its servers say", () => {
    const client = "istio-system/gate";
    const exported = rule("istio-system/a", HOST);
    assert.equal(chosen([exported, rule("bank/a", HOST)], client), "bank/a");
    assert.equal(chosen([rule("istio-system/b", HOST, { exportTo: ["."] }), rule("bank/a", HOST)], client), "istio-system/b");
    assert.equal(chosen([exported], client), "istio-system/a");
  });
});
