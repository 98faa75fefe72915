import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import type { Endpoint, IngressListener, MeshObject, Protocol } from "../policy/model.ts";
import { compileInbound } from "./inbound.ts";

const place = { file: "cart.yaml", line: 7, column: 3 };

function service(name: string, ports: Readonly<Record<string, number>>, protocol: Protocol = "http"): MeshObject {
  const list = Object.entries(ports).map(([port, target]) => ({ name: port, port: 80, targetPort: target, protocol, place }));
  return { kind: "Service", meta: meta(`shop/${name}`), selector: labels({ app: "cart" }), ports: list };
}

function ingress(number: number, endpoint: Endpoint, bind?: string): IngressListener {
  return { port: { number, name: "http", protocol: "http" }, bind, defaultEndpoint: endpoint, place };
}

function sidecar(...listeners: readonly IngressListener[]): MeshObject {
  return { kind: "Sidecar", meta: meta("shop/cart"), selector: labels({ app: "cart" }), ingress: listeners, egress: [] };
}

function compiled(address: string, ...objects: readonly MeshObject[]) {
  const snapshot = snapshotOf([workloadEntry("shop/cart", { address }), ...objects]);
  const workload = snapshot.workloads.get("shop/cart");
  assert.ok(workload);
  const { listeners, diagnostics } = compileInbound(snapshot, workload);
  return { listeners, codes: diagnostics.map(({ code }) => code) };
}

const LOCAL: Endpoint = { kind: "tcp", host: "127.0.0.1", port: 8080 };

describe("compileInbound", () => {
  it("listens where the Sidecar says, and names the services that lead there", () => {
    const { listeners, codes } = compiled(
      "10.0.0.1",
      sidecar(ingress(8443, LOCAL, "127.0.0.9")),
      service("cart", { http: 8443 }),
      service("other", { http: 8443 }),
    );
    assert.deepEqual(
      listeners.map(({ name, bind, port, endpoint, services }) => ({ name, bind, port, endpoint, services })),
      [{ name: "inbound_8443", bind: "127.0.0.9", port: 8443, endpoint: LOCAL, services: ["shop/cart", "shop/other"] }],
    );
    assert.deepEqual(codes, []);
  });

  it("takes the workload's address where the Sidecar binds none", () => {
    assert.equal(compiled("10.0.0.1", sidecar(ingress(8443, LOCAL))).listeners[0]?.bind, "10.0.0.1");
  });

  for (const host of ["0.0.0.0", "::"]) {
    it(`takes the workload's address for the endpoint ${host}`, () => {
      const { listeners } = compiled("10.0.0.1", sidecar(ingress(8443, { kind: "tcp", host, port: 8080 })));
      assert.deepEqual(listeners[0]?.endpoint, { kind: "tcp", host: "10.0.0.1", port: 8080 });
    });
  }

  it("listens on its own address for each service port where there is no Sidecar", () => {
    const { listeners, codes } = compiled("10.0.0.1", service("cart", { http: 8080, admin: 8081 }));
    assert.deepEqual(
      listeners.map(({ bind, port, endpoint }) => [bind, port, endpoint]),
      [
        ["10.0.0.1", 8080, { kind: "tcp", host: "127.0.0.1", port: 8080 }],
        ["10.0.0.1", 8081, { kind: "tcp", host: "127.0.0.1", port: 8081 }],
      ],
    );
    assert.deepEqual(codes, []);
  });

  it("does not guess on loopback, where the application already listens, and says so", () => {
    assert.deepEqual(compiled("127.0.0.1", service("cart", { http: 8080 })), { listeners: [], codes: ["GAR0105"] });
  });

  it("says which service port no listener serves", () => {
    const { listeners, codes } = compiled("127.0.0.1", sidecar(ingress(8443, LOCAL)), service("cart", { http: 9999 }));
    assert.deepEqual([listeners.length, codes], [1, ["GAR0105"]]);
  });

  it("keeps the first of two listeners with one port, and tells of the other", () => {
    const { listeners, codes } = compiled(
      "10.0.0.1",
      sidecar(ingress(8443, LOCAL), ingress(8443, { kind: "unix", path: "/run/cart.sock" })),
    );
    assert.deepEqual([listeners.map(({ endpoint }) => endpoint), codes], [[LOCAL], ["GAR0104"]]);
  });
});
