import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meta, SETTINGS, workloadEntry } from "../../test/fixture/objects.ts";
import { buildSnapshot } from "../mesh/snapshot.ts";
import type { ProxyConfig } from "../policy/mesh-config.ts";
import type { EndpointSliceObject, MeshObject, PodObject, ServiceEntryObject, ServiceObject, SidecarObject } from "../policy/model.ts";
import { compileMesh, MeshCompiler } from "./compile.ts";
import type { WorkloadPolicy } from "./workload-policy.ts";

const PLACE = { file: "mesh.yaml", line: 1, column: 1 };
const PORT = { name: "tcp", port: 9000, targetPort: 9000, protocol: "tcp", place: PLACE } as const;

function service(key: string, more: Partial<ServiceObject> = {}): ServiceObject {
  const [, app = ""] = key.split("/");
  return { kind: "Service", meta: meta(key), selector: new Map([["app", app]]), ports: [PORT], ...more };
}

function entry(key: string, host: string, more: Partial<ServiceEntryObject> = {}): ServiceEntryObject {
  const endpoints = { kind: "inline", list: [] } as const;
  const spec = { hosts: [host], location: "MESH_EXTERNAL", resolution: "DNS", ports: [PORT], endpoints } as const;
  return { kind: "ServiceEntry", meta: meta(key), ...spec, subjectAltNames: [], exportTo: [], ...more };
}

function capturing(config: Partial<ProxyConfig> = {}): ProxyConfig {
  return { numTrustedProxies: undefined, tellsDenials: undefined, interceptionMode: "REDIRECT", dnsCapture: true, ...config };
}

function client(address: string, config: Partial<ProxyConfig> = {}): MeshObject {
  return { ...workloadEntry("shop/client", { address }), proxyConfig: capturing(config) } as MeshObject;
}

function meshPod(key: string): PodObject {
  return { kind: "Pod", meta: meta(key), address: "", ports: new Map(), serviceAccount: "default", ready: true };
}

const CLIENT = client("10.0.0.9");

const compiled = (...objects: readonly MeshObject[]) => compileMesh(buildSnapshot(SETTINGS, objects));
const tableOf = (...objects: readonly MeshObject[]) => compiled(...objects).namesOf("shop/client");

/** The addresses by which captured connections of the client tell a service. */
function listenersOf(policy: WorkloadPolicy | undefined, host: string): readonly string[] {
  return (policy?.capture?.services ?? []).filter(({ upstream }) => upstream.host === host).flatMap(({ addresses }) => addresses);
}

describe("the names that a workload's agent answers", () => {
  it("are those of services, with their own addresses", () => {
    const { domain, names } =
      tableOf(CLIENT, service("shop/cart", { addresses: ["10.96.0.1"] }), service("b/db", { addresses: ["10.96.0.2"] })) ?? {};
    assert.equal(domain, "cluster.local");
    assert.deepEqual(names, { "cart.shop.svc.cluster.local": ["10.96.0.1"], "db.b.svc.cluster.local": ["10.96.0.2"] });
  });

  it("lead of a service without an address to one that captured traffic knows as its own", () => {
    const mesh = compiled(CLIENT, service("shop/cart"), entry("shop/out", "out.example.com"));
    const names = mesh.namesOf("shop/client")?.names ?? {};
    for (const host of ["cart.shop.svc.cluster.local", "out.example.com"]) {
      const [address = "", ...others] = names[host] ?? [];
      assert.match(address, /^240\.240\./);
      assert.deepEqual(others, []);
      assert.deepEqual(listenersOf(mesh.policies.get("shop/client"), host), [address]);
    }
  });

  it("are without given addresses where these are declined, and captured traffic knows none", () => {
    const mesh = compiled(client("10.0.0.9", { dnsAutoAllocate: false }), entry("shop/out", "out.example.com"));
    assert.deepEqual(mesh.namesOf("shop/client")?.names, {});
    assert.deepEqual(listenersOf(mesh.policies.get("shop/client"), "out.example.com"), []);
  });

  it("keep what is told by name where an address is given", () => {
    const http = entry("shop/out", "out.example.com", { ports: [{ ...PORT, protocol: "http" }] });
    const services = compiled(CLIENT, http).policies.get("shop/client")?.capture?.services ?? [];
    assert.deepEqual(
      services.map(({ addresses }) => addresses.length),
      [1, 0],
    );
  });

  it("are of a headless service its workloads', and each by its own name", () => {
    const headless = service("shop/db", { headless: true });
    const names = tableOf(CLIENT, headless, workloadEntry("shop/db", { address: "10.0.0.2" }), {
      ...workloadEntry("shop/db-1", { address: "10.0.0.3" }),
      labels: new Map([["app", "db"]]),
    } as MeshObject)?.names;
    assert.deepEqual(names, {
      "db.shop.svc.cluster.local": ["10.0.0.2", "10.0.0.3"],
      "db.db.shop.svc.cluster.local": ["10.0.0.2"],
      "db-1.db.shop.svc.cluster.local": ["10.0.0.3"],
    });
  });

  it("are of a cluster's headless service what its slices say, with the names of pods, and the cluster's DNS has more", () => {
    const slice: EndpointSliceObject = {
      kind: "EndpointSlice",
      meta: meta("shop/db-abc"),
      service: "db",
      endpoints: [
        { address: "10.0.0.2", ready: true, draining: false, pod: undefined, hostname: "db-0" },
        { address: "10.0.0.3", ready: true, draining: false, pod: undefined },
      ],
      ports: new Map([["tcp", 9000]]),
    };
    const table = tableOf(CLIENT, service("shop/db", { bySlices: true }), slice);
    assert.deepEqual(table?.names, {
      "db.shop.svc.cluster.local": ["10.0.0.2", "10.0.0.3"],
      "db-0.db.shop.svc.cluster.local": ["10.0.0.2"],
    });
    assert.equal(table?.closed, false);
    assert.equal(tableOf(CLIENT)?.closed, true);
  });

  it("are of the family of the workload's own address; a name of the other is there, and has none", () => {
    const services = [
      service("shop/both", { addresses: ["10.96.0.1", "fd00::1"] }),
      service("shop/four", { addresses: ["10.96.0.2"] }),
      service("shop/given"),
    ];
    const { names = {} } = tableOf(client("fd00::9"), ...services) ?? {};
    assert.deepEqual(names["both.shop.svc.cluster.local"], ["fd00::1"]);
    assert.deepEqual(names["four.shop.svc.cluster.local"], []);
    assert.match(names["given.shop.svc.cluster.local"]?.[0] ?? "", /^2001:2::f0f0:/);
  });

  it("are of both families where the workload has addresses of both, and so are given ones", () => {
    const dual = { ...meshPod("shop/client"), address: "10.0.0.9", secondAddress: "fd00::9", proxyConfig: capturing() };
    const services = [
      service("shop/both", { addresses: ["fd00::1", "10.96.0.1"] }),
      service("shop/four", { addresses: ["10.96.0.2"] }),
      service("shop/pods", { bySlices: true, bothFamilies: true }),
      entry("shop/out", "out.example.com"),
    ];
    const serving = { ...meshPod("shop/db-0"), address: "10.0.0.2", secondAddress: "fd00::2" };
    const slices = [serving.address, serving.secondAddress].map((address, index): EndpointSliceObject => {
      const endpoints = [{ address, ready: true, draining: false, pod: "db-0", hostname: "db-0" }];
      return { kind: "EndpointSlice", meta: meta(`shop/pods-${index}`), service: "pods", endpoints, ports: new Map([["tcp", 9000]]) };
    });
    const mesh = compiled(dual, serving, ...services, ...slices);
    const names = mesh.namesOf("shop/client")?.names ?? {};
    const { "out.example.com": given = [], ...others } = names;
    assert.deepEqual(others, {
      "both.shop.svc.cluster.local": ["10.96.0.1", "fd00::1"],
      "four.shop.svc.cluster.local": ["10.96.0.2"],
      "pods.shop.svc.cluster.local": ["10.0.0.2", "fd00::2"],
      "db-0.pods.shop.svc.cluster.local": ["10.0.0.2", "fd00::2"],
    });
    assert.match(given.join(" "), /^240\.240\.\d+\.\d+ 2001:2::f0f0:[0-9a-f]+$/);
    assert.deepEqual(listenersOf(mesh.policies.get("shop/client"), "out.example.com"), given);
  });

  it("are only those that the Sidecar lets it know, and that are exported to it", () => {
    const sidecar: SidecarObject = {
      kind: "Sidecar",
      meta: meta("shop/default"),
      selector: new Map(),
      ingress: [],
      egress: [],
      scopes: [{ hosts: [{ namespace: ".", host: "*" }], place: PLACE }],
    };
    const hidden = entry("b/private", "private.example.com", { exportTo: ["."] });
    const services = [service("shop/cart", { addresses: ["10.96.0.1"] }), service("b/db", { addresses: ["10.96.0.2"] }), hidden];
    assert.deepEqual(Object.keys(tableOf(CLIENT, sidecar, ...services)?.names ?? {}), ["cart.shop.svc.cluster.local"]);
    assert.ok(!Object.hasOwn(tableOf(CLIENT, ...services)?.names ?? {}, "private.example.com"));
  });

  it("are one object for workloads that see the same, and stay it while nothing of them changes", () => {
    const compiler = new MeshCompiler();
    const other = { ...(client("10.0.0.8") as object), meta: meta("shop/other") } as MeshObject;
    const objects = [
      CLIENT,
      other,
      service("shop/cart", { addresses: ["10.96.0.1"] }),
      workloadEntry("shop/cart", { address: "10.0.0.2" }),
    ];
    const first = compiler.compile(buildSnapshot(SETTINGS, objects));
    const before = first.namesOf("shop/client");
    assert.equal(first.namesOf("shop/other"), before);
    const moved = [...objects.slice(0, 3), workloadEntry("shop/cart", { address: "10.0.0.3" })];
    assert.equal(compiler.compile(buildSnapshot(SETTINGS, moved)).namesOf("shop/client"), before);
    const renamed = [...objects.slice(0, 2), service("shop/basket", { addresses: ["10.96.0.1"] })];
    assert.notEqual(compiler.compile(buildSnapshot(SETTINGS, renamed)).namesOf("shop/client"), before);
    assert.equal(first.namesOf("shop/nobody"), undefined);
  });
});
