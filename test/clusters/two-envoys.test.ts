/** Two clusters, each with an API server of its own, and in each a captured workload behind a real Envoy: who may call whom over the border, and what becomes of it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { parse } from "yaml";
import { until } from "../fakes/processes.ts";
import { Place } from "../feature/place.ts";
import { service, serviceAccounts, slice } from "../kube/objects.ts";
import { clusterNamed, SECRET, SECRETS, serveEast, type TwoClusters, twoClusters } from "../kube/two-clusters.ts";
import { PROXIED } from "../kube/views.ts";
import { plainHttpServer, startCaptured } from "../network/captured-mesh.ts";
import { type Host, network } from "../network/hosts.ts";
import { relay } from "./relay.ts";

const PORT = 8080;
/** Each service has its addresses: in either cluster another one. */
const [PAY, PAY_IN_WEST] = ["http://10.96.0.10", "10.96.1.10"];
const [STOCK, STOCK_IN_EAST] = ["http://10.96.1.11", "10.96.0.11"];
const CAPTURED = { "sidecar.istio.io/interceptionMode": "REDIRECT" };
const NO_ANSWER = "000";

const identity = (account: string): string => `spiffe://cluster.local/ns/shop/sa/${account}`;

/** Of the east alone: `pay` is an account of the west, `stock` one of the east. */
const POLICIES = `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: pay, namespace: shop }
spec:
  selector: { matchLabels: { app: pay } }
  rules: [{ from: [{ source: { principals: ["cluster.local/ns/shop/sa/stock"] } }], to: [{ operation: { paths: ["/open"] } }] }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: stock, namespace: shop }
spec:
  selector: { matchLabels: { app: stock } }
  rules: [{ from: [{ source: { principals: ["cluster.local/ns/shop/sa/pay"] } }], to: [{ operation: { paths: ["/open"] } }] }]
`;

describe("two clusters, each with a captured workload behind Envoy", { timeout: 300_000 }, () => {
  const place = new Place({ after });
  const { stock: east, pay: west, stranger } = network(place, ["stock", "pay", "stranger"]);
  let clusters: TwoClusters;

  const call = async (from: Host, url: string, answer: string): Promise<void> => {
    let last = "";
    await until(`${url} answers ${answer}`, async () => {
      last = await from.curl(url);
      return last === answer;
    }).catch((error: unknown) => assert.fail(`${String(error)}: ${last}`));
  };

  before(async () => {
    clusters = await twoClusters(place);
    await clusters.east.apply(
      serviceAccounts("shop", ["stock"]) +
        service("stock", PORT, STOCK_IN_EAST) +
        service("pay", PORT, PAY.slice("http://".length)) +
        POLICIES,
    );
    await clusters.west.apply(service("pay", PORT, PAY_IN_WEST) + service("stock", PORT, STOCK.slice("http://".length)));
    await clusters.west.installSchemas(["authorizationpolicies"]);
    const options = (app: string, ip: string) => ({ account: app, ip, labels: { app, ...PROXIED }, annotations: CAPTURED });
    await clusters.east.pod("shop", "stock", options("stock", east.address));
    await clusters.west.pod("shop", "pay", options("pay", west.address));
    await clusters.east.create(slice("stock", PORT, { stock: east.address }));
    await clusters.west.create(slice("pay", PORT, { pay: west.address }));
    await clusters.east.apply(clusters.secret);
    await serveEast(place, clusters);
    const { port } = place.controlPlane();
    await relay(place, place.folder, port, [east, west]);
    for (const host of [east, west]) plainHttpServer(host, PORT);
    const controlPlane = `127.0.0.1:${port}`;
    const audience = "istio-ca";
    const [ofEast, ofWest] = await Promise.all([
      clusters.east.token("shop", "stock", { audience, pod: "stock" }),
      clusters.west.token("shop", "pay", { audience, pod: "pay" }),
    ]);
    await Promise.all([
      startCaptured(place, east, { workload: "stock", controlPlane, token: ofEast, more: ["--cluster", "east"] }),
      startCaptured(place, west, { workload: "pay", controlPlane, token: ofWest, more: ["--cluster", "west"] }),
      ...[east, west].map((host) => host.listening(PORT)),
    ]);
  });

  test("call each other by the addresses of their own cluster's services, as who they are", async () => {
    await call(east, `${PAY}/open`, `200 pay /open for ${identity("stock")}`);
    await call(west, `${STOCK}/open`, `200 stock /open for ${identity("pay")}`);
    // By the pod's own address too.
    await call(east, `http://${west.address}:${PORT}/open`, `200 pay /open for ${identity("stock")}`);
  });

  test("are denied what no policy allows them, whichever cluster they are of, and it is on record", async () => {
    assert.equal(await east.curl(`${PAY}/closed`), "403 RBAC: access denied");
    assert.equal(await west.curl(`${STOCK}/closed`), "403 RBAC: access denied");
    await until("it is on record", async () => {
      const { stdout } = await place.run("audit", "--workload", "shop/pay@west", "--json");
      return stdout.includes(`"caller":"${identity("stock")}"`) && stdout.includes('"effect":"deny"');
    });
  });

  test("lets nobody in without an identity", async () => {
    for (const host of [east, west]) assert.equal(await stranger.curl(`http://${host.address}:${PORT}/open`), NO_ANSWER);
  });

  test("an edit of a policy in the control plane's cluster holds in the other one, and a policy written there does not", async () => {
    const denyAll = {
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name: "none", namespace: "shop" },
      spec: {},
    };
    await clusters.west.create(denyAll);
    await clusters.east.create({ ...denyAll, spec: { selector: { matchLabels: { app: "pay" } }, action: "DENY", rules: [{}] } } as never);
    await call(east, `${PAY}/open`, "403 RBAC: access denied");
    await clusters.east.remove(denyAll);
    await call(east, `${PAY}/open`, `200 pay /open for ${identity("stock")}`);
  });

  test("an endpoint that the other cluster takes away gets no call, until it is back", async () => {
    await clusters.west.replace(slice("pay", PORT, { pay: west.address }, false) as never);
    await call(east, `${PAY}/open`, "503 no healthy upstream");
    await clusters.west.replace(slice("pay", PORT, { pay: west.address }) as never);
    await call(east, `${PAY}/open`, `200 pay /open for ${identity("stock")}`);
  });

  test("while the other API server is away, all goes on as it was", async () => {
    await clusters.west.server.stop("kube-apiserver");
    await until("it is away", async () => (await clusterNamed(place, "west"))?.state === "away", 60_000);
    await call(east, `${PAY}/open`, `200 pay /open for ${identity("stock")}`);
    await call(west, `${STOCK}/open`, `200 stock /open for ${identity("pay")}`);
    assert.equal(await east.curl(`${PAY}/closed`), "403 RBAC: access denied");
    await clusters.west.server.startServing();
  });

  test("a cluster that is given up is called no more", async () => {
    await clusters.east.remove({ ...(parse(clusters.secret) as typeof SECRET), metadata: { ...SECRET.metadata, namespace: SECRETS } });
    await until("nobody answers", async () => (await east.curl(`${PAY}/open`)).startsWith("503"));
  });
});
