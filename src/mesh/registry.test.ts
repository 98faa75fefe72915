import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import type { MeshObject, ServiceEntryObject } from "../policy/model.ts";
import { endpointsOf, meshServices, reachedServices, registryDiagnostics } from "./registry.ts";

const place = { file: "entry.yaml", line: 1, column: 1 };
const PORT = { name: "http", port: 80, targetPort: 8080, protocol: "http", place } as const;

function entry(key: string, hosts: readonly string[], more: Partial<ServiceEntryObject> = {}): ServiceEntryObject {
  return {
    kind: "ServiceEntry",
    meta: meta(key),
    hosts,
    location: "MESH_EXTERNAL",
    resolution: "DNS",
    ports: [PORT],
    endpoints: { kind: "inline", list: [] },
    subjectAltNames: [],
    exportTo: [],
    ...more,
  };
}

const PAY: MeshObject = { kind: "Service", meta: meta("bank/pay"), selector: labels({ app: "pay" }), ports: [PORT] };

function keysSeen(objects: readonly MeshObject[], namespace: string): readonly string[] {
  const place = { file: "a.yaml", line: 1, column: 1 };
  const port = { number: 80, name: "http", protocol: "http" } as const;
  const all = { port, bind: { kind: "address", host: "127.0.0.1" }, hosts: [{ namespace: "*", host: "*" }], place } as const;
  return reachedServices(snapshotOf(objects), all, namespace).map(({ key }) => key);
}

/** The first service's endpoints at its first port. */
function endpoints(objects: readonly MeshObject[]) {
  const snapshot = snapshotOf(objects);
  const [service] = meshServices(snapshot);
  assert.ok(service);
  return endpointsOf(snapshot, service, PORT).map(({ address, port, identity }) => ({ address, port, identity }));
}

describe("the registry", () => {
  it("has each host of an entry as a service of its own", () => {
    assert.deepEqual(keysSeen([PAY, entry("shop/mail", ["a.example.com", "b.example.com"])], "shop"), [
      "bank/pay",
      "shop/a.example.com",
      "shop/b.example.com",
    ]);
  });

  it("shows an entry where it is exported, and of two with one host that of the client's own namespace", () => {
    const [own, theirs] = [entry("shop/mail", ["a.example.com"], { exportTo: ["."] }), entry("bank/mail", ["a.example.com"])];
    assert.deepEqual(keysSeen([theirs, own], "shop"), ["shop/a.example.com"]);
    assert.deepEqual(keysSeen([theirs, own], "bank"), ["bank/a.example.com"]);
    assert.deepEqual(keysSeen([theirs, own], "other"), ["bank/a.example.com"]);
    assert.deepEqual(keysSeen([own], "other"), []);
  });

  it("lets no entry answer for a service that is there, nor for a host of another namespace", () => {
    const claims = [
      entry("bank/thief", ["pay.bank.svc.cluster.local"]),
      entry("shop/thief", ["new.bank.svc.cluster.local", "new.shop.svc.cluster.local"]),
      entry("shop/twice", ["new.shop.svc.cluster.local"]),
      entry("istio-system/mesh", ["other.bank.svc.cluster.local"]),
    ];
    const snapshot = snapshotOf([PAY, ...claims]);
    assert.deepEqual(
      meshServices(snapshot)
        .map(({ key }) => key)
        .sort(),
      ["bank/pay", "istio-system/other.bank.svc.cluster.local", "shop/new.shop.svc.cluster.local"],
    );
    assert.deepEqual(
      registryDiagnostics(snapshot).map(({ code, message }) => [code, message.split(": ")[1]]),
      [
        ["GAR0104", "`pay.bank.svc.cluster.local` is a service already"],
        ["GAR0104", "`new.bank.svc.cluster.local` belongs to namespace `bank`"],
        ["GAR0104", "`new.shop.svc.cluster.local` is a service already"],
      ],
    );
  });

  it("finds an entry's endpoints by labels, with the identities of their workloads", () => {
    const selected = entry("shop/cart", ["cart.internal"], { endpoints: { kind: "selected", selector: labels({ app: "cart" }) } });
    assert.deepEqual(endpoints([selected, workloadEntry("shop/cart", { address: "10.0.0.2" }), workloadEntry("bank/cart")]), [
      { address: "10.0.0.2", port: 8080, identity: "spiffe://cluster.local/ns/shop/sa/cart" },
    ]);
  });

  it("gives an endpoint of an entry the account that it names, and the port of the port's name", () => {
    const list = [
      { address: "10.0.0.2", ports: new Map([["http", 9090]]), labels: new Map(), serviceAccount: "cart", place },
      { address: "10.0.0.3", ports: new Map(), labels: new Map(), serviceAccount: undefined, place },
    ];
    assert.deepEqual(endpoints([entry("shop/cart", ["cart.internal"], { endpoints: { kind: "inline", list } })]), [
      { address: "10.0.0.2", port: 9090, identity: "spiffe://cluster.local/ns/shop/sa/cart" },
      { address: "10.0.0.3", port: 8080, identity: undefined },
    ]);
  });

  it("takes the host itself where an entry is resolved by DNS and names no endpoint, and nothing where it is not", () => {
    assert.deepEqual(endpoints([entry("shop/mail", ["a.example.com"])]), [{ address: "a.example.com", port: 8080, identity: undefined }]);
    assert.deepEqual(endpoints([entry("shop/mail", ["a.example.com"], { resolution: "STATIC" })]), []);
  });
});
