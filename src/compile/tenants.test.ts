/** What the objects of one namespace can and cannot do to the traffic of another. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meta, SETTINGS } from "../../test/fixture/objects.ts";
import { meshOf, objectsOf } from "../../test/fixture/yaml-mesh.ts";
import { buildSnapshot } from "../mesh/snapshot.ts";
import type { PodObject } from "../policy/model.ts";
import { compileMesh } from "./compile.ts";

function pod(key: string, address: string): PodObject {
  const labels = new Map([["security.istio.io/tlsMode", "istio"]]);
  const annotations = new Map([["sidecar.istio.io/interceptionMode", "REDIRECT"]]);
  return { kind: "Pod", meta: meta(key, { labels, annotations }), address, ports: new Map(), serviceAccount: "x", ready: true };
}

const PODS = [pod("shop/cart", "10.0.0.1"), pod("bank/pay-0", "10.0.0.2"), pod("evil/x", "10.0.0.6")];

/** To where `shop/cart` is led when it calls a service's address, and what is told. */
function ofCart(yaml: string) {
  const mesh = compileMesh(buildSnapshot(SETTINGS, [...PODS, ...objectsOf(yaml)]));
  const capture = mesh.policies.get("shop/cart")?.capture;
  const services = (capture?.services ?? []).map(({ addresses, upstream }) => `${addresses.join("+")}:${upstream.port} ${upstream.host}`);
  const peers = (capture?.peers ?? []).flatMap(({ addresses }) => addresses);
  return { services, peers, told: mesh.diagnostics.map(({ code, message }) => `${code} ${message}`), mesh };
}

function entry(key: string, host: string, more: string, created = 1): string {
  const [namespace, name] = key.split("/");
  const metadata = `{ name: ${name}, namespace: ${namespace}, creationTimestamp: "2026-01-0${created}T00:00:00Z" }`;
  const spec = `{ hosts: [${host}], resolution: STATIC, endpoints: [{ address: 10.6.6.6 }], ports: [{ number: 5432, name: tcp, protocol: TCP }], ${more} }`;
  return `---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: ${metadata}\nspec: ${spec}\n`;
}

describe("a ServiceEntry", () => {
  it("takes no calls to a pod of another namespace, and to its own or nobody's it does", () => {
    const { services, peers, told } = ofCart(entry("evil/a", "a.example", "addresses: [10.0.0.2, 10.0.0.6, 10.9.9.9]"));
    assert.deepEqual(services, ["10.0.0.6+10.9.9.9:5432 a.example"]);
    assert.ok(peers.includes("10.0.0.2"));
    assert.deepEqual(
      told.filter((text) => text.startsWith("GAR0232")),
      ["GAR0232 captured traffic to 10.0.0.2:5432 is for `bank/pay-0`, and so never for `evil/a.example`"],
    );
  });

  it("has an address before those of other namespaces for its own clients, and else by its age", () => {
    const [old, own, later] = [
      entry("evil/a", "a.example", "addresses: [10.9.9.9]", 1),
      entry("shop/b", "b.example", "addresses: [10.9.9.9]", 3),
      entry("bank/c", "c.example", "addresses: [10.9.9.9]", 2),
    ];
    assert.deepEqual(ofCart(old + own + later).services, ["10.9.9.9:5432 b.example"]);
    assert.deepEqual(ofCart(old + later).services, ["10.9.9.9:5432 a.example"]);
  });
});

function meshConfig(text: string): string {
  return `---\napiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata: { mesh: "${text}" }\n`;
}

describe("the mesh's configuration", () => {
  const entries =
    entry("evil/a", "a.example", "addresses: [10.9.9.9]") + entry("evil/b", "b.example", 'addresses: [10.9.9.8], exportTo: ["*"]');

  it("says which namespaces see services that do not say it themselves", () => {
    assert.deepEqual(ofCart(entries).services.length, 2);
    assert.deepEqual(ofCart(entries + meshConfig("defaultServiceExportTo: ['.']")).services, ["10.9.9.8:5432 b.example"]);
    assert.deepEqual(ofCart(entries + meshConfig("defaultServiceExportTo: ['.', shop]")).services.length, 2);
    assert.deepEqual(
      ofCart(entries + meshConfig("defaultServiceExportTo: ['.']")).told.filter((text) => text.startsWith("GAR0014")),
      [],
    );
  });

  it("and so what a WorkloadEntry says of an address, which may be anybody's", () => {
    const yaml =
      "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: db, namespace: evil }\nspec: { address: 192.0.2.5, serviceAccount: x, labels: { app: db } }\n";
    const exported = `---\napiVersion: v1\nkind: Service\nmetadata: { name: db, namespace: evil, annotations: { networking.istio.io/exportTo: shop } }\nspec: { selector: { app: db }, ports: [{ name: tcp, port: 5432 }] }\n`;
    const own = meshConfig("defaultServiceExportTo: ['.']");
    const isPeer = (text: string) => ofCart(text).peers.includes("192.0.2.5");
    assert.deepEqual([isPeer(yaml), isPeer(yaml + own), isPeer(yaml + own + exported)], [true, false, true]);
    assert.ok(ofCart(own).peers.includes("10.0.0.2"));
  });

  it("and an annotation of a Service says it first", () => {
    const service = (exportTo: string) =>
      `---\napiVersion: v1\nkind: Service\nmetadata: { name: pay, namespace: bank, annotations: { networking.istio.io/exportTo: "${exportTo}" } }\nspec: { clusterIP: 10.96.0.2, selector: { app: x }, ports: [{ name: tcp, port: 80 }] }\n`;
    const seen = (exportTo: string, more = "") => ofCart(service(exportTo) + more).services.length;
    assert.deepEqual([seen("."), seen("~"), seen("other, "), seen("other, shop"), seen("*"), seen("")], [0, 0, 0, 1, 1, 1]);
    const own = meshConfig("defaultServiceExportTo: ['.']");
    assert.deepEqual([seen("*", own), seen("", own)], [1, 0]);
  });

  it("says whose clients follow a DestinationRule that does not say it itself", () => {
    const yaml =
      entry("bank/a", "a.example", "addresses: [10.9.9.9]") +
      "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: a, namespace: bank }\nspec: { host: a.example, trafficPolicy: { tls: { mode: SIMPLE } } }\n";
    const modeOf = (more: string) => ofCart(yaml + more).mesh.policies.get("shop/cart")?.capture?.services[0]?.upstream.tls !== undefined;
    assert.deepEqual([modeOf(""), modeOf(meshConfig("defaultDestinationRuleExportTo: ['.']"))], [true, false]);
  });

  it("says which gateways see a VirtualService", () => {
    const yaml = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: front, namespace: edge }
spec: { address: 10.0.0.9, serviceAccount: web, labels: { app: front } }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: public, namespace: edge }
spec: { selector: { app: front }, servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["*/*"] }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: a, namespace: evil }
spec: { hosts: [pay.example], gateways: [edge/public], http: [{ route: [{ destination: { host: a.example } }] }] }
${entry("evil/a", "a.example", "addresses: [10.9.9.9]")}`;
    const hostsOf = (more: string) => {
      const mesh = meshOf(yaml + more);
      const [listener] = mesh.policies.get("edge/front")?.gateway?.listeners ?? [];
      const hosts = listener?.servers.flatMap((server) => server.hosts.map(({ host }) => host));
      return [hosts, mesh.diagnostics.filter(({ code }) => code === "GAR0301").length];
    };
    assert.deepEqual(hostsOf(""), [["pay.example"], 0]);
    assert.deepEqual(hostsOf(meshConfig("defaultVirtualServiceExportTo: ['.']")), [[], 1]);
    assert.deepEqual(hostsOf(meshConfig("defaultVirtualServiceExportTo: [edge]")), [["pay.example"], 0]);
  });
});
