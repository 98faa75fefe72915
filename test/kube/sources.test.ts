/** All that a control plane takes from a cluster, with the rights that the chart gives it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { until } from "../fakes/processes.ts";
import { requestCertificate } from "../feature/caller.ts";
import type { GarrisonProcess } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { OpensslCa } from "../fixture/openssl-ca.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";
import { PROXIED, reachedBy, viewOf } from "./views.ts";

const PAY = "spiffe://cluster.local/ns/shop/sa/pay";

const SHOP = `${namespaceWith("shop", ["pay", "caller"])}${namespaceWith("gateways", ["web"])}---
apiVersion: v1
kind: Service
metadata: { name: pay, namespace: shop }
spec:
  clusterIP: None
  selector: { app: pay }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: caller, namespace: shop }
spec:
  workloadSelector: { labels: { app: caller } }
  egress: [{ port: { number: 80, protocol: HTTP, name: http }, hosts: ["./*"] }]
`;

const GATEWAY = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: web, namespace: gateways }
spec:
  selector: { app: web }
  servers:
    - port: { number: 443, name: https, protocol: HTTPS }
      hosts: ["shop.example.com"]
      tls: { mode: SIMPLE, credentialName: web-credential }
`;

function slice(endpoints: readonly { readonly address: string; readonly pod: string; readonly ready: boolean }[]) {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "pay-1", namespace: "shop", labels: { "kubernetes.io/service-name": "pay" } },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080, protocol: "TCP" }],
    endpoints: endpoints.map(({ address, pod, ready }) => ({
      addresses: [address],
      conditions: { ready },
      targetRef: { kind: "Pod", name: pod, namespace: "shop" },
    })),
  };
}

/** Of each kind that people write, an object that its schema takes and its decoder does not. */
const MALFORMED = [
  ["networking.istio.io/v1", "WorkloadEntry", { addresses: "10.0.0.1" }],
  ["networking.istio.io/v1", "WorkloadGroup", { templates: {} }],
  ["networking.istio.io/v1", "Sidecar", { egres: [] }],
  ["networking.istio.io/v1", "ServiceEntry", { hosts: ["a.example.com"], resolutions: "DNS" }],
  ["networking.istio.io/v1", "DestinationRule", { host: "pay", trafficPolicies: {} }],
  ["networking.istio.io/v1", "Gateway", { selectors: {} }],
  ["networking.istio.io/v1", "VirtualService", { hostss: [] }],
  ["security.istio.io/v1", "PeerAuthentication", { selector: { matchLabels: { "a b": "c" } } }],
  ["security.istio.io/v1", "RequestAuthentication", { selector: { matchLabels: { "a b": "c" } } }],
  ["security.istio.io/v1", "AuthorizationPolicy", { selector: { matchLabels: { "a b": "c" } } }],
] as const;

const place = new Place({ after });
let cluster: Cluster;
let serve: GarrisonProcess;

before(async () => {
  cluster = await Cluster.start(place, { without: ["virtualservices"] });
  await cluster.apply(SHOP);
  await cluster.pod("shop", "pay-0", { account: "pay", ip: "10.244.0.7", labels: { app: "pay", ...PROXIED } });
  await cluster.pod("shop", "pay-1", { account: "pay", ip: "10.244.0.8", labels: { app: "pay", ...PROXIED } });
  await cluster.pod("shop", "caller", { account: "caller", ip: "10.244.0.9", labels: { app: "caller", ...PROXIED } });
  await cluster.pod("gateways", "web", { account: "web", ip: "10.244.0.10", labels: { app: "web" } });
  serve = place.start(["serve", "--kubeconfig", await cluster.controlPlaneKubeconfig(), "--listen", "127.0.0.1:0"]);
  await serve.line(/ control plane serves /);
});

/** Where the caller's one service is served. */
const reached = async () => (await reachedBy(place, "shop/caller")).join();

async function problems(): Promise<readonly string[]> {
  return (await place.status()).diagnostics.map(({ text }) => text);
}

describe("a control plane's sources in a cluster", { timeout: 180_000 }, () => {
  test("the headless service of a StatefulSet is served where its EndpointSlices say, and follows them", async () => {
    await cluster.create(
      slice([
        { address: "10.244.0.7", pod: "pay-0", ready: true },
        { address: "10.244.0.8", pod: "pay-1", ready: false },
      ]),
    );
    await until("the ready one serves", async () => (await reached()) === `10.244.0.7:8080 ${PAY}`);
    await cluster.replace(
      slice([
        { address: "10.244.0.7", pod: "pay-0", ready: true },
        { address: "10.244.0.8", pod: "pay-1", ready: true },
      ]),
    );
    await until("both serve", async () => (await reached()) === `10.244.0.7:8080 ${PAY},10.244.0.8:8080 ${PAY}`);
  });

  test("a gateway's Secret is read where a Role of its namespace allows just that, and told of until then", async () => {
    await cluster.apply(GATEWAY);
    await until("it is told", async () => (await problems()).some((text) => /GAR0220.*`gateways\/web-credential`.*403/s.test(text)));
    assert.deepEqual((await viewOf(place, "gateways/web"))?.policy.gateway?.listeners, []);
    const ca = new OpensslCa(join(place.folder, "web"));
    ca.make("web");
    const [key, certificate] = [ca.text("web.key"), ca.text("web.pem")];
    const stringData = { "tls.crt": certificate, "tls.key": key };
    const metadata = { name: "web-credential", namespace: "gateways" };
    await cluster.create({ apiVersion: "v1", kind: "Secret", type: "kubernetes.io/tls", metadata, stringData } as never);
    await cluster.applyFile(join(import.meta.dirname, "..", "..", "deploy", "kubernetes", "gateway-secrets.yaml"));
    await until("the listener is open", async () => (await viewOf(place, "gateways/web"))?.policy.gateway?.listeners.length === 1);
    assert.deepEqual(
      (await problems()).filter((text) => text.includes("GAR0220")),
      [],
    );
    assert.ok(!readFileSync(join(place.state, "control-plane.json"), "utf8").includes(key));
    assert.ok(!serve.output.includes(key.split("\n")[1] ?? key));
  });

  test("a kind that was not installed at the start is taken up when it is", async () => {
    await cluster.installSchemas(["virtualservices"]);
    await cluster.apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: late, namespace: gateways }
spec: { hosts: [shop.example.com], gateways: [nobody], http: [{ route: [{ destination: { host: pay.shop.svc.cluster.local } }] }] }
`);
    await until("it is read", async () => (await problems()).some((text) => text.includes("VirtualService `gateways/late` names Gateway")));
  });

  test("a malformed object of any kind that got past every check is named, and nothing else is touched", async () => {
    const before = await viewOf(place, "shop/caller");
    for (const [apiVersion, kind, spec] of MALFORMED) {
      await cluster.create({ apiVersion, kind, metadata: { name: "malformed", namespace: "default" }, spec } as never);
    }
    await until("each is named", async () => {
      const told = (await problems()).join("\n");
      return MALFORMED.every(([, kind]) => new RegExp(`${kind} default/malformed: error GAR`).test(told));
    });
    assert.deepEqual(await viewOf(place, "shop/caller"), before);
    for (const [apiVersion, kind] of MALFORMED) {
      await cluster.remove({ apiVersion, kind, metadata: { name: "malformed", namespace: "default" } });
    }
    await until("they are gone", async () => !(await problems()).some((text) => text.includes("malformed")));
  });

  test("an account that is deleted while its pods live gets no certificate any more, and its pods are told of", async () => {
    const token = await cluster.token("shop", "pay", { audience: "istio-ca", pod: "pay-1" });
    const ask = () => requestCertificate(place.controlPlane(), buildCsr(generateKey(), PAY), { token });
    assert.equal((await ask()).code, "OK");
    await cluster.remove({ apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "pay", namespace: "shop" } });
    await until("nobody is given one", async () => (await ask()).code !== "OK");
    await until("it is told", async () =>
      (await problems()).some((text) => /Pod `shop\/pay-1` runs as service account `shop\/pay`/.test(text)),
    );
  });
});
