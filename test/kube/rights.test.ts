/** The control plane has no right that it makes no use of. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { requestCertificate } from "../feature/caller.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";
import { namespaceWith } from "./objects.ts";
import { grantedRights, OF_MACHINES, unusedRights } from "./rights.ts";

/** Rights that this test does not come to, and which one does. */
const EXCEPTIONS: ReadonlyMap<string, string> = new Map(OF_MACHINES.map((right) => [right, "vm-join.test.ts"]));

/** Numbers of bundles are written when they have been held for a while. */
const PATIENCE_MS = 90_000;

/** What a control plane does at its end. */
const LEAVING = ["delete coordination.k8s.io/leases"];

const CART = "spiffe://cluster.local/ns/shop/sa/cart";

/** One of each kind, so that each has a status. */
const OBJECTS = `${namespaceWith("shop", ["cart"])}${namespaceWith("istio-system")}---
apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data: { mesh: "accessLogFile: /dev/stdout" }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: one, namespace: shop }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: one, namespace: shop }
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: one, namespace: shop }
spec: {}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: one, namespace: shop }
spec: { address: 10.0.0.1, serviceAccount: cart, labels: { app: cart } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: one, namespace: shop }
spec: { metadata: { labels: { app: till } }, template: { serviceAccount: cart } }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: one, namespace: shop }
spec: { egress: [{ hosts: ["./*"] }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: one, namespace: shop }
spec: { hosts: [one.example.org], ports: [{ number: 443, name: tls, protocol: TLS }], resolution: DNS, location: MESH_EXTERNAL }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: one, namespace: shop }
spec: { host: one.example.org, trafficPolicy: { tls: { mode: SIMPLE, sni: one.example.org } } }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: one, namespace: shop }
spec: { selector: { app: edge }, servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["shop.example.org"] }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: one, namespace: shop }
spec: { hosts: [shop.example.org], gateways: [one], http: [{ route: [{ destination: { host: one.example.org, port: { number: 443 } } }] }] }
`;

test("every right of the control plane is used, or has a reason here", { timeout: 180_000 }, async () => {
  const place = new Place({ after });
  const cluster = await Cluster.start(place);
  await cluster.apply(OBJECTS);
  const port = await pickPort();
  for (const file of ["webhooks.yaml", "injection.yaml"]) await cluster.installWebhooks(port, file);
  const kubeconfig = await cluster.controlPlaneKubeconfig();
  const shared = ["--ca-secret", "garrison-ca/garrison-ca", "--webhooks", `127.0.0.1:${port}`, "--bundle-endpoint", "127.0.0.1:0"];
  const serve = place.start(["serve", "--kubeconfig", kubeconfig, "--listen", "127.0.0.1:0", ...shared]);
  await serve.line(/ control plane serves /);
  const token = await cluster.token("shop", "cart", { audience: "istio-ca" });
  assert.equal((await requestCertificate(place.controlPlane(), buildCsr(generateKey(), CART), { token })).code, "OK");
  // The roots are put back as they were.
  const roots = { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "istio-ca-root-cert", namespace: "shop" } };
  await until(
    "the roots are there",
    async () => (await (await cluster.api()).call("GET", "/api/v1/namespaces/shop/configmaps/istio-ca-root-cert")).status === 200,
  );
  await cluster.replace({ ...roots, data: { "root-cert.pem": "none" } } as never);
  for (const args of [
    ["ca", "prepare", "--jwt"],
    ["ca", "revoke", "--identity", "shop/cart"],
  ]) {
    const { exit, stderr } = await place.run(...args);
    assert.equal(exit, 0, stderr);
  }
  const rights = [...grantedRights()].filter((right) => !EXCEPTIONS.has(right));
  let unused: readonly string[] = rights;
  await until(
    "all are used but the one to leave",
    async () => {
      unused = unusedRights(cluster, rights);
      return unused.length <= LEAVING.length;
    },
    PATIENCE_MS,
  ).catch(() => assert.deepEqual(unused, LEAVING));
  assert.deepEqual(unused, LEAVING);
  // It takes back what it says of itself.
  assert.equal(await serve.stop(), 0);
  assert.deepEqual(unusedRights(cluster, rights), []);
  assert.doesNotMatch(serve.output, /forbidden|permission-denied/i);
});
