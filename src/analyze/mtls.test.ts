import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meta, SETTINGS } from "../../test/fixture/objects.ts";
import { meshOf, objectsOf } from "../../test/fixture/yaml-mesh.ts";
import { compileMesh } from "../compile/compile.ts";
import { buildSnapshot } from "../mesh/snapshot.ts";
import type { PodObject } from "../policy/model.ts";
import { type MtlsEvidence, mtlsByNamespace, type PlaintextCalls, planStrict } from "./mtls.ts";

/** A workload that listens on 8080, with a service of its name. */
function workload(namespace: string, name: string, address: string): string {
  return `---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: ${namespace} }
spec: { selector: { app: ${name} }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: ${namespace} }
spec: { address: ${address}, serviceAccount: ${name}, labels: { app: ${name} } }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  workloadSelector: { labels: { app: ${name} } }
  ingress: [{ port: { number: 8080, protocol: HTTP, name: http }, defaultEndpoint: "127.0.0.1:18080" }]
  egress: [{ port: { number: 80, protocol: HTTP, name: http }, bind: ${address}, hosts: ["*/*"] }]
`;
}

function peers(namespace: string, name: string, spec: string): string {
  return `---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: ${spec}\n`;
}

const MESH = ["bank", "cards", "shop"].map((namespace, index) => workload(namespace, "web", `127.0.1.${index + 1}`)).join("");
const ALL = ["bank/web", "cards/web", "shop/web"];

function calls(workload: string, sourceIp: string, count = 1): PlaintextCalls {
  return { workload, port: 8080, sourceIp, count, last: 1000 };
}

function evidence(plaintext: readonly PlaintextCalls[], served = ALL, proxies = ALL): MtlsEvidence {
  return { plaintext, served: new Set(served), proxies: new Set(proxies) };
}

function ask(yaml: string, seen: MtlsEvidence, whole = true) {
  const mesh = meshOf(yaml);
  const namespaces = mtlsByNamespace(mesh, seen);
  return { namespaces, plan: planStrict(mesh, namespaces, { whole }) };
}

const states = (yaml: string, seen: MtlsEvidence, whole = true): readonly string[] =>
  ask(yaml, seen, whole).plan.map(({ namespace, state }) => `${namespace} ${state}`);

describe("mtlsByNamespace", () => {
  it("says each port's mode and which policy gives it", () => {
    const { namespaces } = ask(MESH + peers("shop", "default", "{ mtls: { mode: STRICT } }"), evidence([]));
    const ports = namespaces.flatMap(({ workloads }) => workloads.flatMap((one) => one.ports.map(({ mode, by }) => [mode, by?.name])));
    assert.deepEqual(ports, [
      ["PERMISSIVE", undefined],
      ["PERMISSIVE", undefined],
      ["STRICT", "shop/default"],
    ]);
  });

  it("names the workload at a caller's address, and an address that no workload has, or several have, as it is", () => {
    const twins = workload("twin", "one", "127.0.9.9") + workload("twin", "two", "127.0.9.9");
    const seen = evidence(["127.0.1.2", "203.0.113.9", "127.0.9.9"].map((address) => calls("shop/web", address)));
    const clients = ask(MESH + twins, seen).namespaces.flatMap(({ workloads }) => workloads.flatMap((one) => one.clients));
    assert.deepEqual(
      clients.map(({ client }) => client),
      ["cards/web", "203.0.113.9", "127.0.9.9"],
    );
  });

  it("names a pod of both families at either address", () => {
    const place = { ports: new Map(), serviceAccount: "default", ready: true, address: "10.0.0.7", secondAddress: "fd00::7" } as const;
    const pod: PodObject = { kind: "Pod", meta: meta("shop/job"), ...place };
    const mesh = compileMesh(buildSnapshot(SETTINGS, [...objectsOf(MESH), pod]));
    const seen = evidence(["10.0.0.7", "fd00::7"].map((address) => calls("shop/web", address)));
    const shop = mtlsByNamespace(mesh, seen).find(({ namespace }) => namespace === "shop");
    assert.deepEqual(
      shop?.workloads.flatMap((one) => one.clients.map(({ client }) => client)),
      ["shop/job"],
    );
  });

  it("shows a port where nobody is known to listen, if plaintext came there", () => {
    const { namespaces } = ask(MESH, evidence([{ ...calls("shop/web", "203.0.113.9"), port: 9999 }]));
    const shop = namespaces.find(({ namespace }) => namespace === "shop");
    assert.deepEqual(
      shop?.workloads[0]?.ports.map(({ port }) => port),
      [8080, 9999],
    );
  });

  it("names the clients that a DestinationRule tells to come without mutual TLS", () => {
    const rule =
      "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: plain, namespace: bank }\n" +
      "spec: { host: web.shop.svc.cluster.local, exportTo: ['.'], trafficPolicy: { tls: { mode: DISABLE } } }\n";
    const { plan } = ask(MESH + rule, evidence([]));
    const clients = plan.flatMap((step) => step.clients).map(({ workload, client, how }) => `${client} ${how} ${workload}`);
    assert.deepEqual(clients, ["bank/web configured shop/web"]);
  });
});

describe("planStrict", () => {
  it("puts what is done first, then what can be done, then what nobody tried, then what would break", () => {
    const yaml = MESH + workload("none", "web", "127.0.1.4") + peers("shop", "default", "{ mtls: { mode: STRICT } }");
    const seen = evidence([calls("bank/web", "203.0.113.9")], ALL, [...ALL, "none/web"]);
    assert.deepEqual(states(yaml, seen), ["shop strict", "cards ready", "none untried", "bank blocked"]);
    assert.deepEqual(states(yaml, seen, false), ["shop strict", "cards untried", "none untried", "bank blocked"]);
  });

  it("puts first the namespace with the fewest clients to mend, and counts them as mended for those after it", () => {
    const [one, two, three] = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
    const seen = evidence([
      calls("bank/web", one),
      calls("bank/web", two),
      calls("bank/web", three),
      calls("cards/web", one),
      calls("cards/web", two),
      calls("shop/web", one),
    ]);
    const steps = ask(MESH, seen).plan.map(({ namespace, mend }) => [namespace, mend]);
    assert.deepEqual(steps, [
      ["shop", [one]],
      ["cards", [two]],
      ["bank", [three]],
    ]);
  });

  it("is blocked by a workload without a proxy, which no mode protects", () => {
    const { plan } = ask(MESH, evidence([], ALL, ["bank/web", "cards/web"]));
    assert.deepEqual(
      plan.map(({ namespace, state, bare }) => [namespace, state, bare]),
      [
        ["bank", "ready", []],
        ["cards", "ready", []],
        ["shop", "blocked", ["shop/web"]],
      ],
    );
  });

  it("leaves out the callers of ports whose mode a narrower policy says, and lists these as staying", () => {
    const yaml = MESH + peers("shop", "web", "{ selector: { matchLabels: { app: web } }, mtls: { mode: PERMISSIVE } }");
    const { plan } = ask(yaml, evidence([calls("shop/web", "203.0.113.9")]));
    const shop = plan.find(({ namespace }) => namespace === "shop");
    assert.deepEqual(shop?.clients, []);
    assert.deepEqual(
      shop?.kept.map(({ workload, port, mode, by }) => [workload, port, mode, by?.name]),
      [["shop/web", 8080, "PERMISSIVE", "shop/web"]],
    );
  });

  it("names the policy of the namespace that is to be changed", () => {
    const { plan } = ask(MESH + peers("cards", "mine", "{ mtls: { mode: PERMISSIVE } }"), evidence([]));
    assert.deepEqual(
      plan.map(({ namespace, policy }) => [namespace, policy?.name]),
      [
        ["bank", undefined],
        ["cards", "cards/mine"],
        ["shop", undefined],
      ],
    );
  });

  it("says that a namespace whose open ports are all kept by narrower policies has nothing left to do", () => {
    const yaml =
      workload("shop", "web", "127.0.1.1") + peers("shop", "web", "{ selector: { matchLabels: { app: web } }, mtls: { mode: DISABLE } }");
    assert.deepEqual(states(yaml, evidence([], ["shop/web"], ["shop/web"])), ["shop strict"]);
  });
});
