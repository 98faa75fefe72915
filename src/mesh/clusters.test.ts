import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { labels, meta, SETTINGS, workloadEntry } from "../../test/fixture/objects.ts";
import { compileMesh } from "../compile/compile.ts";
import { nameTable } from "../compile/names.ts";
import type { MeshObject, PodObject, ServiceObject } from "../policy/model.ts";
import { ClusterMerger, type OtherCluster } from "./clusters.ts";
import { buildSnapshot } from "./snapshot.ts";

const ROOT = SETTINGS.rootNamespace;
const PLACE = { file: "x", line: 0, column: 0 };

function pod(key: string, address: string, cluster?: string, more: Partial<PodObject> = {}): PodObject {
  const [, name = ""] = key.split("/");
  const app = name.split("-")[0] ?? name;
  const where = cluster === undefined ? {} : { cluster };
  const proxied = labels({ app, "security.istio.io/tlsMode": "istio" });
  return {
    kind: "Pod",
    meta: meta(key, { labels: proxied }),
    ...where,
    address,
    ports: new Map(),
    serviceAccount: app,
    ready: true,
    ...more,
  };
}

function service(key: string, address: string | undefined, port = 80): ServiceObject {
  const [, app = ""] = key.split("/");
  return {
    kind: "Service",
    meta: meta(key),
    selector: labels({ app }),
    ports: [{ name: "tcp", port, targetPort: 8080, protocol: "tcp", place: PLACE }],
    ...(address === undefined ? {} : { addresses: [address] }),
    bySlices: true,
  };
}

function slice(key: string, pods: Readonly<Record<string, string>>, cluster?: string): MeshObject {
  const [, name = ""] = key.split("/");
  const endpoints = Object.entries(pods).map(([of, address]) => ({ address, ready: true, draining: false, pod: of }));
  const where = cluster === undefined ? {} : { cluster };
  return { kind: "EndpointSlice", meta: meta(key), ...where, service: name, endpoints, ports: new Map([["tcp", 8080]]) };
}

function namespace(name: string, network?: string): MeshObject {
  const on = network === undefined ? {} : { "topology.istio.io/network": network };
  return { kind: "Namespace", meta: meta(name, { labels: labels(on) }) };
}

const account = (key: string): MeshObject => ({ kind: "ServiceAccount", meta: meta(key) });

function merged(own: readonly MeshObject[], ...others: readonly (readonly [string, readonly MeshObject[]])[]) {
  const all: readonly OtherCluster[] = others.map(([name, objects]) => ({ name, objects }));
  const { objects, diagnostics } = new ClusterMerger().merge(own, all, ROOT);
  const mesh = compileMesh(buildSnapshot(SETTINGS, objects));
  return { objects, mesh, told: diagnostics.map(({ code, message }) => `${code} ${message}`) };
}

const REDIRECT = { proxyConfig: { numTrustedProxies: undefined, tellsDenials: undefined, interceptionMode: "REDIRECT" } } as const;

/** `VIRTUAL-ADDRESSES SERVICE -> ENDPOINTS` of a captured workload. */
function called(mesh: ReturnType<typeof merged>["mesh"], workload: string): readonly string[] {
  return (mesh.policies.get(workload)?.capture?.services ?? []).map(
    ({ addresses, upstream }) => `${addresses} ${upstream.service} -> ${upstream.endpoints.map(({ address }) => address).sort()}`,
  );
}

/** What a workload's agent answers to a question for `pay`. */
function resolved({ snapshot }: ReturnType<typeof merged>["mesh"], key: string): readonly string[] | undefined {
  const workload = snapshot.workloads.get(key);
  return workload && nameTable(snapshot, workload).names["pay.shop.svc.cluster.local"];
}

describe("several clusters as one mesh", () => {
  test("a service is served by the pods of all, and called in each by that cluster's own address", () => {
    const own = [
      service("shop/pay", "10.96.0.1"),
      slice("shop/pay", { "pay-1": "10.1.0.1" }),
      pod("shop/pay-1", "10.1.0.1"),
      pod("shop/client", "10.1.0.2", undefined, REDIRECT),
    ];
    const west = [
      service("shop/pay", "10.96.0.9"),
      slice("shop/pay", { "pay-1": "10.2.0.1" }, "west"),
      pod("shop/pay-1", "10.2.0.1", "west"),
      pod("shop/client", "10.2.0.2", "west", REDIRECT),
    ];
    const { mesh, told } = merged(own, ["west", west]);
    assert.deepEqual(told, []);
    assert.deepEqual(called(mesh, "shop/client"), ["10.96.0.1 shop/pay -> 10.1.0.1,10.2.0.1"]);
    assert.deepEqual(
      ["shop/client", "shop/client@west"].map((workload) => resolved(mesh, workload)),
      [["10.96.0.1"], ["10.96.0.9"]],
    );
    assert.deepEqual(called(mesh, "shop/client@west"), ["10.96.0.9 shop/pay -> 10.1.0.1,10.2.0.1"]);
    assert.deepEqual(
      mesh.policies.get("shop/pay-1@west")?.inbound.map(({ bind, port }) => `${bind}:${port}`),
      ["10.2.0.1:8080"],
    );
  });

  test("another cluster's virtual address is nothing where the Service is not, even if it is another's there", () => {
    const own = [service("shop/cart", "10.96.0.9"), slice("shop/cart", {}), pod("shop/client", "10.1.0.2", undefined, REDIRECT)];
    const west = [
      service("shop/pay", "10.96.0.9"),
      slice("shop/pay", { "pay-1": "10.2.0.1" }, "west"),
      pod("shop/pay-1", "10.2.0.1", "west"),
    ];
    assert.deepEqual(called(merged(own, ["west", west]).mesh, "shop/client"), ["10.96.0.9 shop/cart -> "]);
  });

  test("a slice means its own cluster's pods: one of the same name elsewhere is somebody else", () => {
    const own = [service("shop/pay", "10.96.0.1"), pod("shop/pay-1", "10.1.0.1"), pod("shop/client", "10.1.0.2", undefined, REDIRECT)];
    const west = [service("shop/pay", "10.96.0.1"), slice("shop/pay", { "pay-1": "10.1.0.1" }, "west")];
    assert.deepEqual(called(merged(own, ["west", west]).mesh, "shop/client"), ["10.96.0.1 shop/pay -> "]);
  });

  test("namespaces and accounts of one name are one", () => {
    const both = [namespace("shop"), account("shop/pay")];
    const { objects, mesh } = merged(both, ["west", [...both, account("shop/west-only")]]);
    assert.equal(objects.length, 3);
    assert.deepEqual(
      [...mesh.snapshot.identities],
      ["spiffe://cluster.local/ns/shop/sa/pay", "spiffe://cluster.local/ns/shop/sa/west-only"],
    );
  });

  test("an address stays whose it is: of the own cluster first, then of the first by name", () => {
    const own = [pod("shop/pay-1", "10.1.0.1"), workloadEntry("shop/vm", { address: "10.9.0.1" })];
    const north = [pod("shop/a", "10.2.0.1", "north")];
    const west = [pod("shop/x", "10.1.0.1", "west"), pod("shop/y", "10.9.0.1", "west"), pod("shop/z", "10.2.0.1", "west")];
    const { mesh, told } = merged(own, ["north", north], ["west", west]);
    assert.deepEqual([...mesh.snapshot.workloads.keys()].sort(), ["shop/a@north", "shop/pay-1", "shop/vm"]);
    assert.deepEqual(told, [
      "GAR0362 Pod `shop/x` of cluster `west` is not taken in: its address 10.1.0.1 is already one of the configuration's own cluster",
      "GAR0362 Pod `shop/y` of cluster `west` is not taken in: its address 10.9.0.1 is already one of the configuration's own cluster",
      "GAR0362 Pod `shop/z` of cluster `west` is not taken in: its address 10.2.0.1 is already one of cluster `north`",
    ]);
  });

  test("either address of a pod of both families is its own alone", () => {
    const dual = (key: string, first: string, secondAddress: string, cluster?: string) => ({ ...pod(key, first, cluster), secondAddress });
    const west = [
      dual("shop/x", "10.2.0.1", "fd00::1", "west"),
      dual("shop/y", "fd00::2", "10.2.0.2", "west"),
      pod("shop/z", "fd00::1", "west"),
    ];
    const { mesh, told } = merged([dual("shop/pay-1", "10.1.0.1", "fd00::1")], ["west", west]);
    assert.deepEqual([...mesh.snapshot.workloads.keys()].sort(), ["shop/pay-1", "shop/y@west"]);
    assert.deepEqual(told, [
      "GAR0362 Pod `shop/x` of cluster `west` is not taken in: its address fd00::1 is already one of the configuration's own cluster",
      "GAR0362 Pod `shop/z` of cluster `west` is not taken in: its address fd00::1 is already one of the configuration's own cluster",
    ]);
  });

  test("a Service with other ports is told, and the first cluster's ports hold", () => {
    const { objects, told } = merged([service("shop/pay", "10.96.0.1")], ["west", [service("shop/pay", "10.96.0.9", 81)]]);
    assert.deepEqual(told, ["GAR0361 Service `shop/pay` has other ports in cluster `west`: 81 (tcp, tcp) instead of 80 (tcp, tcp)"]);
    assert.deepEqual(
      objects.flatMap((object) => (object.kind === "Service" ? object.ports.map(({ port }) => port) : [])),
      [80],
    );
  });

  test("a cluster on another network is not taken in; one that says nothing of its network is", () => {
    const west = [namespace(ROOT, "n2"), pod("shop/pay-1", "10.2.0.1", "west")];
    const north = [pod("shop/pay-1", "10.3.0.1", "north")];
    const { mesh, told } = merged([namespace(ROOT, "n1")], ["north", north], ["west", west]);
    assert.deepEqual([...mesh.snapshot.workloads.keys()], ["shop/pay-1@north"]);
    assert.match(told.join(), /^GAR0364 cluster `west` is not taken in: it is on network `n2`/);
  });

  test("what is the same in two states is the same object", () => {
    const merger = new ClusterMerger();
    const own = [service("shop/pay", "10.96.0.1")];
    const west = service("shop/pay", "10.96.0.9");
    const before = merger.merge(own, [{ name: "west", objects: [west] }], ROOT);
    const after = merger.merge(own, [{ name: "west", objects: [west, pod("shop/pay-1", "10.2.0.1", "west")] }], ROOT);
    assert.equal(after.objects.at(-1), before.objects.at(-1));
    assert.deepEqual(
      before.objects.map(({ kind }) => kind),
      ["Service"],
    );
  });
});
