import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, SETTINGS, snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import { checkReferences } from "../mesh/references.ts";
import type { AuthorizationPolicyObject, Clause, MeshObject, Protocol, Rule } from "../policy/model.ts";
import { compileMesh } from "./compile.ts";

const place = { file: "x.yaml", line: 1, column: 1 };
const path: Clause = { attribute: "path", argument: "", values: [{ kind: "exact", value: "/admin" }], negated: false };
const port: Clause = { attribute: "destinationPort", argument: "", values: [{ kind: "port", port: 80 }], negated: false };

function sidecar(name: string, number: number, protocol: Protocol): MeshObject {
  const listener = {
    port: { number, name: protocol, protocol },
    bind: "127.0.0.1",
    defaultEndpoint: { kind: "tcp" as const, host: "127.0.0.1", port: 1 },
    place,
  };
  return { kind: "Sidecar", meta: meta(`shop/${name}`), selector: labels({ app: name }), ingress: [listener], egress: [] };
}

function deny(rules: readonly Rule[], app = "cart"): AuthorizationPolicyObject {
  return { kind: "AuthorizationPolicy", meta: meta("shop/deny"), selector: labels({ app }), action: "DENY", rules };
}

function codes(...objects: readonly MeshObject[]): readonly string[] {
  return compileMesh(snapshotOf(objects)).diagnostics.map(({ code }) => code);
}

describe("compileMesh", () => {
  it("warns of a DENY with HTTP fields that reaches TCP ports (AZ-8)", () => {
    const rule: Rule = { from: [], to: [[path]], when: [] };
    assert.deepEqual(codes(workloadEntry("shop/cart"), sidecar("cart", 6379, "tcp"), deny([rule])), ["GAR0201"]);
    assert.deepEqual(codes(workloadEntry("shop/cart"), sidecar("cart", 8080, "http"), deny([rule])), ["GAR0203"]);
  });

  it("does not warn of TCP where every operation names its ports, but of a port at which nothing listens", () => {
    const rule: Rule = { from: [], to: [[path, port]], when: [] };
    assert.deepEqual(codes(workloadEntry("shop/cart"), sidecar("cart", 6379, "tcp"), deny([rule])), ["GAR0210"]);
  });

  it("warns of a selector that selects nothing and of a service without workloads", () => {
    const service: MeshObject = { kind: "Service", meta: meta("shop/empty"), selector: labels({ app: "ghost" }), ports: [] };
    assert.deepEqual(codes(workloadEntry("shop/cart"), service, deny([], "ghost")), ["GAR0101", "GAR0103"]);
  });

  it("tells of two workloads on one address and port", () => {
    const found = codes(workloadEntry("shop/cart"), workloadEntry("shop/pay"), sidecar("cart", 8080, "http"), sidecar("pay", 8080, "http"));
    assert.deepEqual(found, ["GAR0104"]);
  });

  it("tells of a selector in the root namespace that a PeerAuthentication ignores (PA-3)", () => {
    const policy: MeshObject = {
      kind: "PeerAuthentication",
      meta: meta("istio-system/x"),
      selector: labels({ app: "cart" }),
      mtls: "STRICT",
      portLevelMtls: new Map(),
    };
    assert.deepEqual(codes(workloadEntry("shop/cart"), policy), ["GAR0106"]);
  });

  it("says of each policy how many workloads it selects, and whether it is closed", () => {
    const invalid: AuthorizationPolicyObject = { ...deny([]), meta: meta("shop/broken"), selector: new Map(), rules: "invalid" };
    const { statuses } = compileMesh(snapshotOf([workloadEntry("shop/cart"), workloadEntry("shop/pay"), deny([]), invalid]));
    assert.deepEqual(statuses, [
      { object: "AuthorizationPolicy shop/broken", closed: true, workloads: ["shop/cart", "shop/pay"] },
      { object: "AuthorizationPolicy shop/deny", closed: false, workloads: ["shop/cart"] },
    ]);
  });
});

describe("checkReferences", () => {
  const told = (...objects: readonly MeshObject[]) =>
    checkReferences(snapshotOf(objects), objects).map(({ code, message, help }) => [code, message, help]);

  it("tells of a service account that does not exist, and takes the namespace of a workload for one that does", () => {
    assert.deepEqual(told(workloadEntry("shop/cart"), { kind: "Namespace", meta: meta(SETTINGS.rootNamespace) }), [
      [
        "GAR0102",
        "WorkloadEntry `shop/cart` runs as service account `shop/cart`, which does not exist",
        "add the ServiceAccount: without it the workload gets no certificate",
      ],
    ]);
  });

  it("tells of a namespace where nobody is, with the one that may be meant", () => {
    const account: MeshObject = { kind: "ServiceAccount", meta: meta("shop/cart") };
    const [warning, ...others] = told(account, { ...deny([]), meta: meta("shopp/deny") });
    assert.deepEqual(others, []);
    assert.match(
      String(warning),
      /^GAR0215,AuthorizationPolicy `deny` is in namespace `shopp`, where nobody is: .*,did you mean `shop`\?; until then /,
    );
    assert.deepEqual(told(account, deny([])), []);
  });

  it("tells of such a namespace once, and names what else is in it", () => {
    const inShopp = Array.from({ length: 9 }, (_, index) => ({ ...deny([]), meta: meta(`shopp/deny-${index}`) }));
    const warnings = told(...inShopp, { ...deny([]), meta: meta("moon/deny") });
    assert.equal(warnings.length, 2);
    assert.match(String(warnings[0]), /`deny-0` .*; so are AuthorizationPolicy `deny-1`, .*`deny-6` and 2 more,/);
    assert.match(String(warnings[1]), /no object of kind Namespace,/);
  });
});
