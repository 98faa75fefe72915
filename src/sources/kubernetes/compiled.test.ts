/** What a cluster's own objects come to: whom a client reaches, how, and where its servers listen. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileMesh } from "../../compile/compile.ts";
import type { ServiceEndpoint } from "../../compile/workload-policy.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import { buildSnapshot } from "../../mesh/snapshot.ts";
import { decodeObject } from "../../policy/decode/decode.ts";
import { readObject } from "./api-objects.ts";
import { objectTree } from "./object-tree.ts";
import { observe } from "./observed.ts";

const PLACE = { file: "here", line: 0, column: 0 };
const SETTINGS = { trustDomain: parseTrustDomain("cluster.local"), rootNamespace: "istio-system", clusterDomain: "cluster.local" };
const PAY = "spiffe://cluster.local/ns/shop/sa/pay";
const READY = [{ type: "Ready", status: "True" }];
const PROXIED = { app: "pay", "security.istio.io/tlsMode": "istio" };

interface Body {
  readonly [field: string]: unknown;
}

/** Of both families. */
function dualPod(name: string, ...podIPs: readonly [string, string]) {
  const one = pod(name, podIPs[0]);
  return { ...one, status: { ...one.status, podIPs: podIPs.map((ip) => ({ ip })) } };
}

function pod(name: string, podIP: string, more: { readonly labels?: Body; readonly spec?: Body; readonly ready?: boolean } = {}) {
  const { labels = PROXIED, spec = {}, ready = true } = more;
  return {
    kind: "Pod",
    metadata: { name, labels },
    spec: { serviceAccountName: "pay", ...spec },
    status: { phase: "Running", podIP, conditions: ready ? READY : [] },
  };
}

function service(spec: Body = {}) {
  return {
    kind: "Service",
    metadata: { name: "pay" },
    spec: { selector: { app: "pay" }, ports: [{ name: "http", port: 80, targetPort: 8080 }], ...spec },
  };
}

function slice(endpoints: readonly Body[], port = 8080, more: Body = {}) {
  const labels = { "kubernetes.io/service-name": "pay" };
  return { kind: "EndpointSlice", metadata: { name: `pay-${port}`, labels }, endpoints, ports: [{ name: "http", port }], ...more };
}

function at(address: string, podName: string | undefined, conditions: Body = { ready: true }) {
  const target = podName === undefined ? {} : { targetRef: { kind: "Pod", name: podName, namespace: "shop" } };
  return { addresses: [address], conditions, ...target };
}

const CALLER = pod("caller", "10.0.0.99", { labels: { app: "caller" } });
const SIDECAR = {
  kind: "Sidecar",
  apiVersion: "networking.istio.io/v1",
  metadata: { name: "caller", namespace: "shop" },
  spec: {
    workloadSelector: { labels: { app: "caller" } },
    egress: [{ port: { number: 80, protocol: "HTTP", name: "http" }, hosts: ["./*"] }],
  },
};

/** The mesh that a cluster with these objects is, compiled. */
function compiled(objects: readonly Body[]) {
  const read = [CALLER, SIDECAR, ...objects].map((body: Body) => {
    const metadata = { namespace: "shop", resourceVersion: "1", ...(body.metadata as object) };
    const object = readObject({ ...body, metadata }, String(body.kind), String(body.apiVersion ?? "v1"));
    return body.apiVersion === undefined ? observe(String(body.kind), object, PLACE) : decodeObject(objectTree(object.body, PLACE)).object;
  });
  return compileMesh(
    buildSnapshot(
      SETTINGS,
      read.filter((object) => object !== undefined),
    ),
  );
}

/** `ADDRESS[+SECOND]:PORT`, with the identity that must answer, or `plain`. */
function shown(endpoint: ServiceEndpoint): string {
  const second = endpoint.secondAddress === undefined ? "" : `+${endpoint.secondAddress}`;
  return `${endpoint.address}${second}:${endpoint.port} ${endpoint.mtls ? endpoint.identity : "plain"}`;
}

function reached(...objects: readonly Body[]): readonly string[] {
  const services = compiled(objects)
    .policies.get("shop/caller")
    ?.outbound.flatMap((listener) => listener.services);
  return (services ?? []).flatMap(({ endpoints }) => endpoints.map(shown));
}

function listening(workload: string, ...objects: readonly Body[]): readonly string[] {
  return (compiled(objects).policies.get(workload)?.inbound ?? []).map(({ bind, port }) => `${bind}:${port}`);
}

const ENDING = { ready: false, serving: true, terminating: true };

test("a service is served where its slices say, by the identity of the pod that is there", () => {
  const pods = [pod("pay-1", "10.0.0.1"), pod("pay-2", "10.0.0.2")];
  assert.deepEqual(reached(service(), ...pods, slice([at("10.0.0.1", "pay-1"), at("10.0.0.2", "pay-2", { ready: false })])), [
    `10.0.0.1:8080 ${PAY}`,
  ]);
});

test("a service whose slices have not come is served nowhere, whatever its selector selects", () => {
  assert.deepEqual(reached(service(), pod("pay-1", "10.0.0.1")), []);
});

test("conditions that a slice does not say mean ready", () => {
  assert.deepEqual(reached(service(), pod("pay-1", "10.0.0.1"), slice([{ ...at("10.0.0.1", "pay-1"), conditions: {} }])), [
    `10.0.0.1:8080 ${PAY}`,
  ]);
});

test("`publishNotReadyAddresses`: the slice says ready, though the pod is not", () => {
  const objects = [
    service({ publishNotReadyAddresses: true }),
    pod("pay-1", "10.0.0.1", { ready: false }),
    slice([at("10.0.0.1", "pay-1")]),
  ];
  assert.deepEqual(reached(...objects), [`10.0.0.1:8080 ${PAY}`]);
});

test("endpoints that end and still serve are used where none is ready, and only there", () => {
  const pods = [pod("pay-1", "10.0.0.1"), pod("pay-2", "10.0.0.2")];
  assert.deepEqual(reached(service(), ...pods, slice([at("10.0.0.1", "pay-1", ENDING)])), [`10.0.0.1:8080 ${PAY}`]);
  assert.deepEqual(reached(service(), ...pods, slice([at("10.0.0.1", "pay-1", ENDING), at("10.0.0.2", "pay-2")])), [
    `10.0.0.2:8080 ${PAY}`,
  ]);
  assert.deepEqual(reached(service(), ...pods, slice([at("10.0.0.1", "pay-1", { ...ENDING, serving: false })])), []);
});

test("several slices of a service, as of pods that give a named port other numbers, come together", () => {
  const pods = [pod("pay-1", "10.0.0.1"), pod("pay-2", "10.0.0.2")];
  assert.deepEqual(reached(service(), ...pods, slice([at("10.0.0.1", "pay-1")], 8080), slice([at("10.0.0.2", "pay-2")], 9090)), [
    `10.0.0.1:8080 ${PAY}`,
    `10.0.0.2:9090 ${PAY}`,
  ]);
});

const IPV6 = { addressType: "IPv6" };
const [ONE, TWO] = [dualPod("pay-1", "10.0.0.1", "fd00::1"), dualPod("pay-2", "fd00::2", "10.0.0.2")];

const BOTH = { ipFamilies: ["IPv4", "IPv6"] };

for (const [what, { spec = BOTH, slices, endpoints }] of Object.entries<{
  readonly spec?: Body;
  readonly slices: readonly Body[];
  readonly endpoints: readonly string[];
}>({
  "of both families a pod is one endpoint, its own first address first": {
    slices: [
      slice([at("10.0.0.1", "pay-1"), at("10.0.0.2", "pay-2")]),
      slice([at("fd00::1", "pay-1"), at("fd00::2", "pay-2")], 8080, IPV6),
    ],
    endpoints: [`10.0.0.1+fd00::1:8080 ${PAY}`, `fd00::2+10.0.0.2:8080 ${PAY}`],
  },
  "of both families a pod has both addresses as soon as the slices of one are there": {
    slices: [slice([at("fd00::1", "pay-1"), at("fd00::2", "pay-2")], 8080, IPV6)],
    endpoints: [`10.0.0.1+fd00::1:8080 ${PAY}`, `fd00::2+10.0.0.2:8080 ${PAY}`],
  },
  "of one family a pod is where that says": {
    spec: { ipFamilies: ["IPv6"] },
    slices: [slice([at("fd00::1", "pay-1"), at("fd00::2", "pay-2")], 8080, IPV6)],
    endpoints: [`fd00::1:8080 ${PAY}`, `fd00::2:8080 ${PAY}`],
  },
  "of both families a pod is not called where it is not": {
    slices: [slice([at("fd00::9", "pay-1")], 8080, IPV6), slice([at("10.0.0.2", "pay-2")])],
    endpoints: [`fd00::2+10.0.0.2:8080 ${PAY}`],
  },
  "of both families a pod that a slice names by its address alone is known by either": {
    slices: [slice([at("10.0.0.1", undefined)]), slice([at("fd00::1", undefined)], 8080, IPV6)],
    endpoints: [`10.0.0.1+fd00::1:8080 ${PAY}`],
  },
  "of both families what is no pod is where its slices say": {
    slices: [slice([at("192.0.2.1", undefined)]), slice([at("2001:db8::1", undefined)], 8080, IPV6)],
    endpoints: ["192.0.2.1:8080 plain", "2001:db8::1:8080 plain"],
  },
})) {
  test(`a service: ${what}`, () => {
    const named = slices.map((each, index) => ({ ...each, metadata: { ...(each.metadata as object), name: `pay-${index}` } }));
    assert.deepEqual(reached(service(spec), ONE, TWO, ...named).toSorted(), endpoints);
  });
}

test("a StatefulSet's headless service is served by its pods, each by its own address", () => {
  const pods = [pod("pay-0", "10.0.0.1"), pod("pay-1", "10.0.0.2")];
  assert.deepEqual(
    reached(service({ clusterIP: "None" }), ...pods, slice([at("10.0.0.1", "pay-0"), at("10.0.0.2", "pay-1")])),
    ["10.0.0.1", "10.0.0.2"].map((address) => `${address}:8080 ${PAY}`),
  );
  assert.deepEqual(listening("shop/pay-1", service({ clusterIP: "None" }), ...pods), ["10.0.0.2:8080"]);
});

test("a pod without a proxy is spoken to in plaintext, as its missing label says; a rule may still demand mutual TLS", () => {
  const objects = [service(), pod("pay-1", "10.0.0.1", { labels: { app: "pay" } }), slice([at("10.0.0.1", "pay-1")])];
  assert.deepEqual(reached(...objects), ["10.0.0.1:8080 plain"]);
  const rule = {
    kind: "DestinationRule",
    apiVersion: "networking.istio.io/v1",
    metadata: { name: "pay", namespace: "shop" },
    spec: { host: "pay", trafficPolicy: { tls: { mode: "ISTIO_MUTUAL" } } },
  };
  assert.deepEqual(reached(...objects, rule), [`10.0.0.1:8080 ${PAY}`]);
});

test("a pod of the host's network is reached at its node's address in plaintext, and nothing of ours listens there", () => {
  const objects = [
    service(),
    pod("pay-1", "192.0.2.5", { labels: { app: "pay" }, spec: { hostNetwork: true } }),
    slice([at("192.0.2.5", "pay-1")]),
  ];
  assert.deepEqual(reached(...objects), ["192.0.2.5:8080 plain"]);
  assert.deepEqual(listening("shop/pay-1", ...objects), []);
  const { diagnostics } = compiled([...objects, pod("pay-2", "192.0.2.5", { labels: { app: "pay" }, spec: { hostNetwork: true } })]);
  assert.deepEqual(diagnostics, []);
});

test("a Job's pod is a workload while it runs, and none once it has ended", () => {
  const job = pod("job-1", "10.0.0.7", { labels: { "job-name": "job" } });
  assert.equal(compiled([job]).policies.get("shop/job-1")?.identity, PAY);
  assert.equal(compiled([{ ...job, status: { phase: "Succeeded", podIP: "10.0.0.7" } }]).policies.has("shop/job-1"), false);
});

test("a service without a selector leads where its slices say: to pods by their identities, elsewhere in plaintext", () => {
  const objects = [
    service({ selector: undefined }),
    pod("pay-1", "10.0.0.1"),
    slice([at("10.0.0.1", undefined), at("203.0.113.9", undefined)]),
  ];
  assert.deepEqual(reached(...objects), [`10.0.0.1:8080 ${PAY}`, "203.0.113.9:8080 plain"]);
  assert.deepEqual(listening("shop/pay-1", ...objects), ["10.0.0.1:8080"]);
});

test("slices of another namespace open no port of a pod", () => {
  const elsewhere = { name: "pay", namespace: "other" };
  const objects = [
    { ...service({ selector: undefined }), metadata: elsewhere },
    { ...slice([at("10.0.0.1", undefined)]), metadata: { ...elsewhere, labels: { "kubernetes.io/service-name": "pay" } } },
    pod("pay-1", "10.0.0.1"),
  ];
  assert.deepEqual(listening("shop/pay-1", ...objects), []);
});

test("an address of a pod that is not known, or has another address, gets nothing: who is there is unknown", () => {
  assert.deepEqual(reached(service(), slice([at("10.0.0.1", "pay-1")])), []);
  assert.deepEqual(reached(service(), pod("pay-1", "10.0.0.8"), slice([at("10.0.0.1", "pay-1")])), []);
});

test("names, other protocols and slices of no service are left out", () => {
  const known = [service(), pod("pay-1", "10.0.0.1")];
  const udp = slice([at("10.0.0.1", "pay-1")], 8080, { ports: [{ name: "http", port: 8080, protocol: "UDP" }] });
  assert.deepEqual(reached(...known, udp), []);
  assert.deepEqual(reached(...known, slice([at("db.example.com", undefined)], 8080, { addressType: "FQDN" })), []);
  assert.deepEqual(reached(...known, { ...slice([at("10.0.0.1", "pay-1")]), metadata: { name: "stray" } }), []);
});

test("a WorkloadEntry that the selector selects serves beside the pods", () => {
  const entry = {
    kind: "WorkloadEntry",
    apiVersion: "networking.istio.io/v1",
    metadata: { name: "vm", namespace: "shop" },
    spec: { address: "192.0.2.77", serviceAccount: "pay", labels: { app: "pay" } },
  };
  assert.deepEqual(reached(service(), pod("pay-1", "10.0.0.1"), slice([at("10.0.0.1", "pay-1")]), entry), [
    `10.0.0.1:8080 ${PAY}`,
    `192.0.2.77:8080 ${PAY}`,
  ]);
});
