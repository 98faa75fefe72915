import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { DEFAULT_MESH_CONFIG, type MeshConfig } from "../policy/mesh-config.ts";
import type { EgressListener, MeshObject, Protocol, SidecarObject } from "../policy/model.ts";
import { compileOutbound } from "./outbound.ts";

const place = { file: "sidecar.yaml", line: 1, column: 1 };

function service(key: string, ports: Readonly<Record<string, number>>, app: string): MeshObject {
  const list = Object.entries(ports).map(([name, port]) => ({ name, port, targetPort: port + 1000, protocol: "http" as const, place }));
  return { kind: "Service", meta: meta(key), selector: labels({ app }), ports: list };
}

function egress(
  port: number,
  hosts: readonly string[],
  more: { readonly name?: string; readonly protocol?: Protocol } = {},
): EgressListener {
  const split = hosts.map((host) => ({ namespace: host.split("/")[0] ?? "", host: host.split("/")[1] ?? "" }));
  return {
    port: { number: port, name: more.name ?? "http", protocol: more.protocol ?? "http" },
    bind: { kind: "address", host: "127.0.0.1" },
    hosts: split,
    place,
  };
}

function compileWith(listener: EgressListener, mesh: Partial<MeshConfig> = {}) {
  const sidecar: SidecarObject = {
    kind: "Sidecar",
    meta: meta("shop/cart"),
    selector: labels({ app: "cart" }),
    ingress: [],
    egress: [listener],
  };
  const snapshot = snapshotOf([
    workloadEntry("shop/cart"),
    workloadEntry("shop/pay", { address: "10.0.0.2", serviceAccount: "payments" }),
    workloadEntry("bank/vault", { address: "10.0.0.3", ports: { admin: 9999 } }),
    service("shop/pay", { http: 80 }, "pay"),
    service("bank/vault", { http: 80, admin: 81 }, "vault"),
    sidecar,
    { kind: "ConfigMap", meta: meta("istio-system/istio"), mesh: { ...DEFAULT_MESH_CONFIG, ...mesh } },
  ]);
  const workload = snapshot.workloads.get("shop/cart");
  assert.ok(workload);
  return compileOutbound(snapshot, workload);
}

function reached(listener: EgressListener): readonly string[] {
  return compileWith(listener).listeners.flatMap(({ services }) => services.map(({ service: key, port }) => `${key}:${port}`));
}

describe("compileOutbound", () => {
  it("speaks plaintext to everybody where auto mTLS is off", () => {
    const endpoints = (mesh: Partial<MeshConfig>) =>
      compileWith(egress(80, ["./*"]), mesh).listeners.flatMap(({ services }) => services.flatMap((one) => one.endpoints));
    const payments = { address: "10.0.0.2", port: 1080, identity: "spiffe://cluster.local/ns/shop/sa/payments" };
    assert.deepEqual(endpoints({ enableAutoMtls: true }), [{ ...payments, mtls: true }]);
    assert.deepEqual(endpoints({ enableAutoMtls: false }), [{ ...payments, mtls: false }]);
  });

  it("lets each endpoint answer by the aliases of the trust domain too", () => {
    const mesh = { trustDomainAliases: [parseTrustDomain("old.example"), parseTrustDomain("cluster.local")] };
    const [endpoint] = compileWith(egress(80, ["./*"]), mesh).listeners.flatMap(({ services }) => services.flatMap((one) => one.endpoints));
    assert.deepEqual(endpoint?.mtls === true && endpoint.aliases, ["spiffe://old.example/ns/shop/sa/payments"]);
  });

  it("reaches every service that the hosts name on the listener's port, as in Istio", () => {
    assert.deepEqual(reached(egress(80, ["*/*"])), ["shop/pay:80", "bank/vault:80"]);
  });

  it("takes `.` for its own namespace", () => {
    assert.deepEqual(reached(egress(80, ["./*"])), ["shop/pay:80"]);
  });

  it("takes a suffix of hosts", () => {
    assert.deepEqual(reached(egress(80, ["*/*.bank.svc.cluster.local"])), ["bank/vault:80"]);
  });

  it("reaches a service with one port from any port, where one exact host names it", () => {
    assert.deepEqual(reached(egress(17000, ["shop/pay.shop.svc.cluster.local"])), ["shop/pay:80"]);
  });

  it("reaches the port with the listener's name, where one exact host names a service with several", () => {
    assert.deepEqual(reached(egress(17000, ["bank/vault.bank.svc.cluster.local"], { name: "admin" })), ["bank/vault:81"]);
  });

  it("tells of a listener that reaches nothing and leaves it closed", () => {
    const { listeners, diagnostics } = compileWith(egress(17000, ["*/*"]));
    assert.deepEqual([listeners, diagnostics.map(({ code }) => code)], [[], ["GAR0102"]]);
  });

  it("tells of a TCP listener that cannot choose and leaves it closed", () => {
    const { listeners, diagnostics } = compileWith(egress(80, ["*/*"], { protocol: "tcp" }));
    assert.deepEqual([listeners, diagnostics.map(({ code }) => code)], [[], ["GAR0104"]]);
  });

  it("gives each endpoint the identity of its own workload (SN-5) and Istio's server name (SN-3)", () => {
    const [listener] = compileWith(egress(80, ["./*"])).listeners;
    assert.deepEqual(listener?.services[0]?.endpoints, [
      { address: "10.0.0.2", port: 1080, identity: "spiffe://cluster.local/ns/shop/sa/payments", mtls: true },
    ]);
    assert.equal(listener?.services[0]?.sni, "outbound_.80_._.pay.shop.svc.cluster.local");
  });

  it("takes the workload's port of the service port's name", () => {
    const [listener] = compileWith(egress(81, ["*/*"])).listeners;
    assert.equal(listener?.services[0]?.endpoints[0]?.port, 9999);
  });
});
