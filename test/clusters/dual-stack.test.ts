/** Captured pods with addresses of both families, behind one real Envoy each; the API server and its controller of EndpointSlices are real too. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { until } from "../fakes/processes.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "../kube/cluster.ts";
import { namespaceWith } from "../kube/objects.ts";
import { PROXIED } from "../kube/views.ts";
import { plainHttpServer, startCaptured } from "../network/captured-mesh.ts";
import { type Host, network } from "../network/hosts.ts";
import { relay } from "./relay.ts";

const [HTTP, REDIS, ONLY_IPV4, ONLY_IPV6] = [8080, 6379, 8081, 8082];
const [VIP, VIP6] = ["10.96.0.10", "fd00:96::10"];
const SERVER = "server.shop.svc.cluster.local";
const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";
const NO_ANSWER = "000";

const SHOP = `apiVersion: v1
kind: Node
metadata: { name: node-1 }
${namespaceWith("shop", ["client", "server", "denied"])}---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec:
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  clusterIPs: [${VIP}, "${VIP6}"]
  clusterIP: ${VIP}
  selector: { app: server }
  ports:
    - { name: http, port: 80, targetPort: ${HTTP} }
    - { name: tcp-redis, port: ${REDIS} }
    - { name: http-4, port: ${ONLY_IPV4} }
    - { name: http-6, port: ${ONLY_IPV6} }
---
apiVersion: v1
kind: Service
metadata: { name: pods, namespace: shop }
spec: { ipFamilyPolicy: RequireDualStack, clusterIP: None, selector: { app: server }, ports: [{ name: http, port: ${HTTP} }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: given, namespace: shop }
spec:
  hosts: [given.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: ${HTTP}, name: http, protocol: HTTP }]
  workloadSelector: { labels: { app: server } }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: server, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  rules: [{ from: [{ source: { principals: ["cluster.local/ns/shop/sa/client"] } }] }]
`;

describe("captured pods with addresses of both families", { timeout: 300_000 }, () => {
  const place = new Place({ after });
  const hosts = network(place, ["client", "server", "denied", "stranger"], { dual: true });
  const { client, server, denied, stranger } = hosts;

  const redis = async (host: Host, name: string): Promise<string> => {
    const { stdout } = await host.run(["timeout", "8", "redis-cli", "-h", name, "ping"]);
    return stdout.trim();
  };
  const dig = async (name: string, type: string): Promise<readonly string[]> => {
    const { stdout } = await client.run(["dig", "@203.0.113.53", "+short", "+tries=1", "+time=6", name, type]);
    return stdout.trim().split("\n");
  };

  /** Whoever is asked has come to know what is new. */
  const becomes = async (host: Host, url: string, answer: string): Promise<void> => {
    let last = "";
    await until(`${host.name} has an answer of ${url}`, async () => {
      last = await host.curl(url);
      return last === answer;
    }).catch((error: unknown) => assert.fail(`${String(error)}: ${last}`));
  };

  before(async () => {
    const cluster = await Cluster.start(place);
    cluster.server.startControllers(["endpointslice-controller"]);
    await cluster.apply(SHOP);
    const annotations = {
      "sidecar.istio.io/interceptionMode": "REDIRECT",
      "proxy.istio.io/config": 'proxyMetadata: { ISTIO_META_DNS_CAPTURE: "true" }',
    };
    for (const host of [client, server, denied]) {
      const second = host === server ? { secondIp: host.address6 } : {};
      const labels = { app: host.name, ...PROXIED };
      await cluster.pod("shop", host.name, { account: host.name, ip: host.address, ...second, labels, annotations });
    }
    const serve = place.start(["serve", "--kubeconfig", await cluster.controlPlaneKubeconfig(), "--listen", "127.0.0.1:0"]);
    await serve.line(/ control plane serves /);
    const { port } = place.controlPlane();
    await relay(place, place.folder, port, [client, server, denied]);
    for (const host of [server, denied]) plainHttpServer(host, HTTP, "::");
    plainHttpServer(server, ONLY_IPV4, server.address);
    plainHttpServer(server, ONLY_IPV6, server.address6);
    server.start(["redis-server", "--port", String(REDIS), "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", ""]);
    client.resolvesBy("nameserver 203.0.113.53\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n");
    const join = async (host: Host): Promise<void> => {
      const token = await cluster.token("shop", host.name, { audience: "istio-ca", pod: host.name });
      const capture = ["--dns-port", "15053"];
      await startCaptured(place, host, { workload: host.name, controlPlane: `127.0.0.1:${port}`, token, capture });
    };
    await Promise.all([client, server, denied].map(join));
    // Their Envoys run already, and must take what a second address brings.
    for (const host of [client, denied]) {
      const podIPs = [{ ip: host.address }, { ip: host.address6 }];
      await cluster.setPodStatus("shop", host.name, {
        phase: "Running",
        podIP: host.address,
        podIPs,
        conditions: [{ type: "Ready", status: "True" }],
      });
    }
    await Promise.all([HTTP, REDIS, ONLY_IPV4, ONLY_IPV6].map((each) => server.listening(each)));
    await becomes(client, `http://[${VIP6}]/`, `200 server / for ${CLIENT}`);
    await becomes(client, `http://[${server.address6}]:${HTTP}/`, `200 server / for ${CLIENT}`);
    await becomes(denied, `http://[${VIP6}]/`, "403 RBAC: access denied");
    await becomes(denied, `http://[${server.address6}]:${HTTP}/`, "403 RBAC: access denied");
  });

  test("are called at a service's address of either family, with the caller's identity", async () => {
    for (const vip of [VIP, `[${VIP6}]`]) assert.equal(await client.curl(`http://${vip}/open`), `200 server /open for ${CLIENT}`);
    for (const vip of [VIP, VIP6]) assert.equal(await redis(client, vip), "PONG");
  });

  test("are called at their own addresses of either family by mutual TLS, and the application at the one that was called", async () => {
    for (const own of [server.address, `[${server.address6}]`])
      assert.equal(await client.curl(`http://${own}:${HTTP}/`), `200 server / for ${CLIENT}`);
    for (const own of [server.address, server.address6]) assert.equal(await redis(client, own), "PONG");
    assert.equal(await client.curl(`http://${server.address}:${ONLY_IPV4}/`), `200 server / for ${CLIENT}`);
    assert.equal(await client.curl(`http://[${server.address6}]:${ONLY_IPV6}/`), `200 server / for ${CLIENT}`);
    assert.match(await client.curl(`http://[${server.address6}]:${ONLY_IPV4}/`), /^503 /);
    assert.match(await client.curl(`http://${server.address}:${ONLY_IPV6}/`), /^503 /);
  });

  test("deny, over either family, who has another identity", async () => {
    for (const host of [VIP, `[${VIP6}]`, `${server.address}:${HTTP}`, `[${server.address6}]:${HTTP}`])
      assert.equal(await denied.curl(`http://${host}/open`), "403 RBAC: access denied", host);
    for (const host of [VIP, VIP6, server.address, server.address6]) assert.notEqual(await redis(denied, host), "PONG", host);
    await until("all of them are on record, by the pod's name", async () => {
      const { stdout } = await place.run("audit", "--workload", "shop/server", "--json");
      const refused = stdout.split("\n").filter((line) => line.includes("/sa/denied") && line.includes('"effect":"deny"'));
      return refused.length >= 8;
    });
  });

  test("let nobody in without an identity, over either family", async () => {
    for (const own of [server.address, `[${server.address6}]`]) assert.equal(await stranger.curl(`http://${own}:${HTTP}/open`), NO_ANSWER);
    for (const own of [server.address, server.address6]) assert.equal(await redis(stranger, own), "");
  });

  test("have names of both families, by which unmodified programs come to them", async () => {
    assert.deepEqual([await dig(SERVER, "A"), await dig(SERVER, "AAAA")], [[VIP], [VIP6]]);
    const pods = "pods.shop.svc.cluster.local";
    assert.deepEqual([await dig(pods, "A"), await dig(pods, "AAAA")], [[server.address], [server.address6]]);
    assert.match((await dig("given.example.com", "A")).join(), /^240\.240\.\d+\.\d+$/);
    assert.match((await dig("given.example.com", "AAAA")).join(), /^2001:2::f0f0:[0-9a-f]+$/);
    for (const family of ["-4", "-6"]) {
      assert.equal(await client.curl("http://server/open", family), `200 server /open for ${CLIENT}`);
      assert.equal(await client.curl(`http://pods:${HTTP}/open`, family), `200 server /open for ${CLIENT}`);
      assert.equal(await client.curl(`http://given.example.com:${HTTP}/open`, family), `200 server /open for ${CLIENT}`);
    }
  });

  test("that had one address first are met at the second as well", async () => {
    for (const own of [denied.address, `[${denied.address6}]`]) {
      // No service leads there, so that its bytes are opaque, and no header tells who has called: STRICT does.
      await becomes(client, `http://${own}:${HTTP}/`, "200 denied / for nobody");
      assert.equal(await stranger.curl(`http://${own}:${HTTP}/`), NO_ANSWER);
    }
  });

  test("reach a service without an address by the host that they name, at any address of either family", async () => {
    for (const other of [stranger.address, `[${stranger.address6}]`])
      assert.equal(await client.curl(`http://${other}:${HTTP}/open`, "-H", "host: given.example.com"), `200 server /open for ${CLIENT}`);
  });

  test("reach a destination that nobody knows over either family, as its own", async () => {
    plainHttpServer(stranger, 9000, "::");
    await stranger.listening(9000);
    for (const own of [stranger.address, `[${stranger.address6}]`])
      assert.equal(await client.curl(`http://${own}:9000/`), "200 stranger / for nobody");
  });

  test("are called at their second address where the first does not answer, and nobody else gets in there", async () => {
    const refusal = `table ip away { chain in { type filter hook input priority 0; iifname "eth0" meta l4proto tcp reject with tcp reset; }; }`;
    const { exit, stderr } = await server.run(["nft", "-f", "-"], { input: refusal });
    assert.equal(exit, 0, stderr);
    assert.match(await client.curl(`http://${server.address}:${HTTP}/`), /^(?:000|503)/);
    for (const vip of [VIP, `[${VIP6}]`]) {
      await becomes(client, `http://${vip}/open`, `200 server /open for ${CLIENT}`);
      await becomes(denied, `http://${vip}/open`, "403 RBAC: access denied");
    }
  });
});
