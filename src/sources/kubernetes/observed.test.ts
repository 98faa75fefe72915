import assert from "node:assert/strict";
import { test } from "node:test";
import type { MeshObject } from "../../policy/model.ts";
import { readObject } from "./api-objects.ts";
import { observe } from "./observed.ts";

const PLACE = { file: "here", line: 0, column: 0 };

function observed(kind: string, body: Readonly<Record<string, unknown>>): MeshObject | undefined {
  const metadata = {
    name: "payroll",
    namespace: "shop",
    resourceVersion: "1",
    creationTimestamp: "2026-01-02T03:04:05Z",
    labels: { app: "payroll" },
  };
  return observe(kind, readObject({ metadata, ...body }, kind, "v1"), PLACE);
}

const META = {
  name: "payroll",
  namespace: "shop",
  labels: new Map([["app", "payroll"]]),
  annotations: new Map(),
  created: Date.parse("2026-01-02T03:04:05Z"),
  place: PLACE,
};

const SPEC = {
  serviceAccountName: "clerk",
  containers: [
    { ports: [{ name: "web", containerPort: 8080 }, { containerPort: 9 }, { name: "dns", containerPort: 53, protocol: "UDP" }] },
  ],
};
const READY = [{ type: "Ready", status: "True" }];

test("a running pod is a workload with its address, account, labels and named TCP ports", () => {
  assert.deepEqual(observed("Pod", { spec: SPEC, status: { phase: "Running", podIP: "10.0.0.7", conditions: READY } }), {
    kind: "Pod",
    meta: META,
    address: "10.0.0.7",
    ports: new Map([["web", 8080]]),
    serviceAccount: "clerk",
    ready: true,
  });
});

test("a pod in a cluster of both families has a second address, the first of `podIPs` that is of the other family", () => {
  const secondOf = (podIP: string, ...others: readonly string[]) => {
    const podIPs = [podIP, ...others].map((ip) => ({ ip }));
    const pod = observed("Pod", { spec: SPEC, status: { phase: "Running", podIP, podIPs } });
    return pod?.kind === "Pod" ? [pod.address, pod.secondAddress] : undefined;
  };
  assert.deepEqual(secondOf("10.0.0.7", "fd00::7"), ["10.0.0.7", "fd00::7"]);
  assert.deepEqual(secondOf("fd00::7", "10.0.0.7"), ["fd00::7", "10.0.0.7"]);
  assert.deepEqual(secondOf("10.0.0.7", "everywhere", "10.0.0.8", "fd00::8", "fd00::9"), ["10.0.0.7", "fd00::8"]);
  assert.deepEqual(secondOf("10.0.0.7", "10.0.0.8"), ["10.0.0.7", undefined]);
});

for (const [what, status] of [
  ["has ended well", { phase: "Succeeded", podIP: "10.0.0.7" }],
  ["has failed", { phase: "Failed", podIP: "10.0.0.7" }],
  ["has no address yet", { phase: "Pending" }],
  ["has an address that is none", { phase: "Running", podIP: "everywhere" }],
] as const) {
  test(`a pod that ${what} is no workload`, () => assert.equal(observed("Pod", { spec: SPEC, status }), undefined));
}

test("a pod that is not ready, or is being deleted, is a workload to which no service leads", () => {
  const status = { phase: "Running", podIP: "10.0.0.7", conditions: [{ type: "Ready", status: "False" }] };
  const notReady = observed("Pod", { spec: SPEC, status });
  assert.equal(notReady?.kind === "Pod" && notReady.ready, false);
  const metadata = { name: "payroll", namespace: "shop", resourceVersion: "1", deletionTimestamp: "2026-01-02T03:04:05Z" };
  const leaving = observed("Pod", { metadata, spec: SPEC, status: { ...status, conditions: READY } });
  assert.equal(leaving?.kind === "Pod" && leaving.ready, false);
});

test("a pod without an account runs as `default`", () => {
  const pod = observed("Pod", { spec: {}, status: { phase: "Running", podIP: "10.0.0.7" } });
  assert.equal(pod?.kind === "Pod" && pod.serviceAccount, "default");
});

test("a service has its TCP ports, whatever type it is, with the protocol that they name", () => {
  const ports = [
    { name: "http-web", port: 80, targetPort: "web", nodePort: 30_080 },
    { name: "db", port: 5432, appProtocol: "tcp" },
    { name: "dns", port: 53, protocol: "UDP" },
  ];
  assert.deepEqual(observed("Service", { spec: { type: "LoadBalancer", selector: { app: "payroll" }, ports } }), {
    kind: "Service",
    meta: META,
    selector: new Map([["app", "payroll"]]),
    ports: [
      { name: "http-web", port: 80, targetPort: "web", protocol: "http", place: PLACE },
      { name: "db", port: 5432, targetPort: 5432, protocol: "tcp", place: PLACE },
    ],
    bySlices: true,
  });
});

test("a service by another's DNS name, and one without a TCP port, are left out", () => {
  assert.equal(observed("Service", { spec: { type: "ExternalName", ports: [{ port: 80 }] } }), undefined);
  assert.equal(observed("Service", { spec: { selector: {}, ports: [{ port: 53, protocol: "UDP" }] } }), undefined);
  assert.equal(observed("Service", { spec: {} }), undefined);
});

test("a namespace is in none", () => {
  assert.deepEqual(observed("Namespace", {})?.meta, { ...META, namespace: "" });
});

test("an address of a slice has the name of its own that the slice says, where it says one", () => {
  const metadata = { name: "db-x", namespace: "shop", resourceVersion: "1", labels: { "kubernetes.io/service-name": "db" } };
  const endpoints = [
    { addresses: ["10.0.0.7"], hostname: "db-0", targetRef: { kind: "Pod", name: "db-0" } },
    { addresses: ["10.0.0.8"], targetRef: { kind: "Pod", name: "other" } },
  ];
  const slice = observed("EndpointSlice", { metadata, addressType: "IPv4", endpoints, ports: [{ name: "sql", port: 5432 }] });
  assert.deepEqual(slice?.kind === "EndpointSlice" && slice.endpoints, [
    { address: "10.0.0.7", ready: true, draining: false, pod: "db-0", hostname: "db-0" },
    { address: "10.0.0.8", ready: true, draining: false, pod: "other" },
  ]);
});

test("what no sound API server lets pass is left out: another cluster's may be anybody's", () => {
  const running = { phase: "Running", podIP: "10.0.0.7" };
  const named = (kind: string, name: string, namespace = "shop") => {
    const metadata = { name, namespace, resourceVersion: "1" };
    const body = { metadata, spec: { ports: [{ port: 80 }] }, status: running };
    return observe(kind, readObject(body, kind, "v1"), PLACE)?.kind;
  };
  assert.deepEqual(
    [
      named("Pod", "a@east"),
      named("Pod", "a/b"),
      named("Pod", "a", "shop/b"),
      named("ServiceAccount", "pay/sa/x"),
      named("Service", "a.b"),
    ],
    [undefined, undefined, undefined, undefined, undefined],
  );
  assert.deepEqual([named("Pod", "a.b"), named("Service", "a"), named("Namespace", "shop", "")], ["Pod", "Service", "Namespace"]);
  assert.equal(observed("Pod", { spec: { serviceAccountName: "pay/../admin" }, status: running }), undefined);
  const ports = [
    { port: 0 },
    { port: 65_536 },
    { port: 8.5 },
    { port: -1 },
    { name: "a b", port: 8 },
    { name: "ok", port: 9, targetPort: 1e9 },
  ];
  const service = observed("Service", { spec: { ports } });
  assert.deepEqual(service?.kind === "Service" && service.ports.map(({ port, targetPort }) => [port, targetPort]), [[9, 9]]);
  const pod = observed("Pod", { spec: { containers: [{ ports: [{ name: "web", containerPort: 99_999 }] }] }, status: running });
  assert.deepEqual(pod?.kind === "Pod" && [...pod.ports], []);
  const labels = { "kubernetes.io/service-name": "pay" };
  const slice = observed("EndpointSlice", {
    metadata: { name: "pay-1", namespace: "shop", resourceVersion: "1", labels },
    ports: [{ name: "http", port: 70_000 }],
    endpoints: [{ addresses: ["10.0.0.7"], hostname: "a.b" }],
  });
  assert.deepEqual(slice?.kind === "EndpointSlice" && [[...slice.ports], slice.endpoints[0]?.hostname], [[], undefined]);
});
