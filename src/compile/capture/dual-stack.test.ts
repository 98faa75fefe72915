/** Captured pods that have an address of each family. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meta, SETTINGS } from "../../../test/fixture/objects.ts";
import { objectsOf } from "../../../test/fixture/yaml-mesh.ts";
import { buildSnapshot } from "../../mesh/snapshot.ts";
import type { PodObject } from "../../policy/model.ts";
import { compileMesh } from "../compile.ts";

const ANNOTATIONS = new Map([["sidecar.istio.io/interceptionMode", "REDIRECT"]]);

function pod(
  name: string,
  addresses: Pick<PodObject, "address" | "secondAddress" | "hostNetwork">,
  more: Partial<PodObject> = {},
): PodObject {
  const labels = new Map([
    ["app", name],
    ["security.istio.io/tlsMode", "istio"],
  ]);
  const own = {
    meta: meta(`shop/${name}`, { labels, annotations: ANNOTATIONS }),
    ports: new Map(),
    serviceAccount: name,
    ready: true,
  } as const;
  return { kind: "Pod", ...own, ...addresses, ...more };
}

const PAY = pod("pay", { address: "10.0.0.2", secondAddress: "fd00::2" });
const SERVICE = `apiVersion: v1
kind: Service
metadata: { name: pay, namespace: shop }
spec: { selector: { app: pay }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
`;

function policyOf(name: string, yaml: string, ...pods: readonly PodObject[]) {
  return compileMesh(buildSnapshot(SETTINGS, [...pods, ...objectsOf(yaml)])).policies.get(`shop/${name}`);
}

/** `ADDRESSES[:PORT] WHO`. */
function peersOf(yaml: string, ...pods: readonly PodObject[]): readonly string[] {
  return (policyOf("pay", yaml, ...pods)?.capture?.peers ?? []).map(({ addresses, port, transport }) => {
    const who =
      transport.kind === "mtls" ? transport.identities.join("|").replaceAll("spiffe://cluster.local/ns/shop/sa/", "") : transport.kind;
    return `${addresses.join("+")}${port === undefined ? "" : `:${port}`} ${who}`;
  });
}

describe("a captured pod of both families", () => {
  it("is its first address, with the second beside it", () => {
    const policy = policyOf("pay", SERVICE, PAY);
    assert.deepEqual([policy?.workload, policy?.address, policy?.secondAddress], ["shop/pay", "10.0.0.2", "fd00::2"]);
    const single = policyOf("pay", SERVICE, pod("pay", { address: "10.0.0.2" }));
    assert.ok(single !== undefined && !("secondAddress" in single));
  });

  it("is called by its proxy where its client has called, unless its Sidecar says where", () => {
    const [derived] = policyOf("pay", SERVICE, PAY)?.inbound ?? [];
    assert.deepEqual([derived?.asCalled, derived?.endpoint], [true, { kind: "tcp", host: "10.0.0.2", port: 8080 }]);
    const ingress = (endpoint: string) => `${SERVICE}---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: pay, namespace: shop }
spec: { ingress: [{ port: { number: 8080, protocol: HTTP, name: http }, defaultEndpoint: "${endpoint}" }] }
`;
    for (const [said, host] of [
      ["0.0.0.0:9090", "10.0.0.2"],
      ["[::]:9090", "fd00::2"],
      ["127.0.0.1:9090", "127.0.0.1"],
    ] as const) {
      const [listener] = policyOf("pay", ingress(said), PAY)?.inbound ?? [];
      assert.deepEqual([listener?.asCalled, listener?.endpoint], [undefined, { kind: "tcp", host, port: 9090 }]);
    }
  });

  it("is one of one family no more than before", () => {
    const [listener] = policyOf("pay", SERVICE, pod("pay", { address: "fd00::2" }))?.inbound ?? [];
    assert.deepEqual([listener?.asCalled, listener?.endpoint], [undefined, { kind: "tcp", host: "fd00::2", port: 8080 }]);
  });

  it("proves its own identity at either address, and is spoken to in plaintext at either where it takes nothing else", () => {
    assert.deepEqual(peersOf("", PAY, pod("cart", { address: "fd00::3", secondAddress: "10.0.0.3" })), [
      "10.0.0.3+fd00::3 cart",
      "10.0.0.2+fd00::2 pay",
    ]);
    const mode = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: pay, namespace: shop }
spec: { selector: { matchLabels: { app: pay } }, portLevelMtls: { 9090: { mode: DISABLE } } }
`;
    assert.deepEqual(peersOf(mode, PAY), ["10.0.0.2+fd00::2 pay", "10.0.0.2+fd00::2:9090 plaintext"]);
  });

  it("is told apart from whoever shares but one of its addresses by the ports of their services, at that address alone", () => {
    const cart = pod("cart", { address: "10.0.0.9", secondAddress: "fd00::2", hostNetwork: true });
    assert.deepEqual(peersOf(SERVICE, PAY, cart), ["10.0.0.9 cart", "10.0.0.2 pay", "fd00::2:8080 pay"]);
  });
});
