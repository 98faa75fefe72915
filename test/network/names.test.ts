/** Unmodified programs that call by name, and a resolver on the network that lies about every one. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "../fakes/processes.ts";
import type { GarrisonProcess } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { CapturedMesh, serviceYaml, workloadYaml } from "./captured-mesh.ts";
import { type Host, type HostProcess, network } from "./hosts.ts";

const MESH = `apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data:
  mesh: |
    defaultConfig:
      interceptionMode: REDIRECT
      proxyMetadata: { ISTIO_META_DNS_CAPTURE: "true" }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
`;

/** The same store by services of every kind: by an address of its own, by one that is given to it, by its workloads, by a host of any name. */
const SERVICES = `${serviceYaml("store", "10.96.0.21", "{ name: redis, port: 6379 }")}---
apiVersion: v1
kind: Service
metadata: { name: plain, namespace: shop }
spec: { selector: { app: store }, ports: [{ name: redis, port: 6379 }] }
---
apiVersion: v1
kind: Service
metadata: { name: pods, namespace: shop }
spec: { clusterIP: None, selector: { app: store }, ports: [{ name: redis, port: 6379 }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: cache, namespace: shop }
spec:
  hosts: [cache.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 6379, name: redis, protocol: REDIS }]
  workloadSelector: { labels: { app: store } }
`;

const NAMES = [
  "store.shop.svc.cluster.local",
  "store.shop.svc",
  "store.shop",
  "store",
  "plain",
  "plain.shop.svc.cluster.local",
  "pods.shop",
  "store.pods.shop.svc.cluster.local",
  "cache.example.com",
  "CACHE.Example.com",
];

const policyFor = (mode: string): string => `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default, namespace: shop }
spec: { outboundTrafficPolicy: { mode: ${mode} } }
`;

describe("captured names", { timeout: 240_000 }, () => {
  const place = new Place({ after });
  const hosts = network(place, ["control", "client", "store", "liar", "stranger"]);
  const { client, store, liar, stranger } = hosts;
  let lies: HostProcess;
  let controlPlane: GarrisonProcess;

  const redis = async (host: Host, name: string, ...command: readonly string[]): Promise<string> =>
    (await host.run(["timeout", "8", "redis-cli", "-h", name, ...command])).stdout.trim();
  /** The answer's status, then its addresses; of a server at an address where nobody is. */
  const dig = async (name: string, ...options: readonly string[]): Promise<string> => {
    const { stdout } = await client.run(["dig", "@203.0.113.53", "+tries=1", "+time=6", name, ...options]);
    const [, status = "no answer"] = /status: (\w+)/.exec(stdout) ?? [];
    const addresses = [...stdout.matchAll(/\sIN\s+(?:A|AAAA)\s+(\S+)$/gm)].map(([, address]) => address);
    return [status, ...addresses].join(" ");
  };

  before(async () => {
    for (const host of [client, store, stranger])
      host.resolvesBy(`nameserver ${liar.address}\nsearch corp.example other.example\noptions ndots:5\n`);
    place.write("mesh.yaml", MESH);
    place.write("workloads.yaml", `${workloadYaml("client", client.address)}---\n${workloadYaml("store", store.address)}`);
    place.write("services.yaml", SERVICES);
    const mesh = new CapturedMesh(place, hosts.control);
    controlPlane = await mesh.serve();
    lies = liar.start([process.execPath, join(import.meta.dirname, "lying-resolver.ts"), liar.address]);
    store.start(["redis-server", "--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]);
    const dns = ["--dns-port", "15053"];
    await Promise.all([mesh.join(client, "client", dns), mesh.join(store, "store", dns), store.listening(6379)]);
    await until("the liar is ready", async () => lies.output().includes("ready"));
  });

  test("are lies to whoever has no agent", async () => {
    assert.equal(await redis(stranger, "store.shop.svc.cluster.local", "set", "password", "stolen"), "LIES");
  });

  test("lead to the true workload, by mutual TLS, however they are written", async () => {
    for (const name of NAMES) {
      assert.equal(await redis(client, name, "set", "by", name), "OK", name);
      assert.equal(await redis(client, name, "get", "by"), name);
    }
    await until("the server knows the caller", async () => {
      const { stdout } = await place.run("audit", "--json");
      return stdout.split("\n").filter((line) => line.includes("/sa/client") && line.includes('"port":6379')).length >= NAMES.length;
    });
  });

  test("are known to programs that ask the C library", async () => {
    const { stdout } = await client.run(["getent", "ahostsv4", "store"]);
    assert.match(stdout, /^10\.96\.0\.21 +STREAM/);
  });

  test("have the addresses that the mesh says, from whichever server they are asked, by UDP and by TCP", async () => {
    for (const transport of ["+notcp", "+tcp"]) {
      assert.equal(await dig("store.shop.svc.cluster.local", transport), "NOERROR 10.96.0.21");
      assert.equal(await dig("store.shop.svc.cluster.local", "AAAA", transport), "NOERROR");
      assert.equal(await dig("store.shop.svc.cluster.local", "HTTPS", transport), "NOERROR");
      assert.equal(await dig("pods.shop.svc.cluster.local", transport), `NOERROR ${store.address}`);
    }
    assert.match(await dig("cache.example.com"), /^NOERROR 240\.240\.\d+\.\d+$/);
    assert.equal(await dig("store.shop.svc.cluster.local.corp.example"), "NOERROR 10.96.0.21");
  });

  test("are answered over IPv6 too", async () => {
    await client.run(["ip", "-6", "address", "add", "fd77::2/64", "dev", "eth0", "nodad"]);
    await client.run(["ip", "-6", "route", "add", "default", "via", "fd77::fe", "dev", "eth0"]);
    for (const transport of ["+notcp", "+tcp"]) {
      const { stdout } = await client.run(["dig", "@2001:db8::53", "+short", "+tries=1", "+time=6", transport, "store.shop"]);
      assert.equal(stdout, "10.96.0.21\n");
    }
  });

  test("that nobody has below the mesh's domain are nowhere, and asked of nobody", async () => {
    assert.equal(await dig("missing.shop.svc.cluster.local"), "NXDOMAIN");
    assert.equal(await redis(client, "missing.shop.svc.cluster.local", "ping"), "");
  });

  test("of others are as true as the machine's resolver", async () => {
    assert.equal(await dig("www.example.org"), `NOERROR ${liar.address}`);
    assert.equal(await dig("www.example.org", "+tcp"), `NOERROR ${liar.address}`);
    assert.equal(await redis(client, "www.example.org.", "ping"), "LIES");
    place.write("sidecar.yaml", policyFor("REGISTRY_ONLY"));
    await until("a lie leads nowhere", async () => (await redis(client, "www.example.org.", "ping")) !== "LIES");
    assert.equal(await redis(client, "store", "ping"), "PONG");
    place.write("sidecar.yaml", policyFor("ALLOW_ANY"));
  });

  test("of the mesh were never asked of the liar, and no byte of theirs has come there", () => {
    const output = lies.output();
    const asked = [...output.matchAll(/^asked \w+ (\S+)$/gm)].map(([, name = ""]) => name);
    const own = asked.filter((name) => /cluster\.local|cache\.example|^(store|plain|pods|missing)\b/.test(name));
    // Only the stranger's.
    assert.deepEqual(
      [...new Set(own)].filter((name) => !name.startsWith("store.shop.svc.cluster.local")),
      [],
    );
    assert.ok(asked.includes("www.example.org"));
    const got = output.match(/^got .*$/gm) ?? [];
    assert.ok(got.some((line) => line.includes("stolen")));
    assert.ok(!got.some((line) => line.includes("\\r\\nby\\r\\n")), output);
  });

  test("that come and go are known at once", async () => {
    place.write(
      "late.yaml",
      serviceYaml("late", "10.96.0.77", "{ name: redis, port: 6379 }").slice("---\n".length).replace("app: late", "app: store"),
    );
    await until("the new name is known", async () => (await dig("late.shop")) === "NOERROR 10.96.0.77");
    await until("it leads to the workload", async () => (await redis(client, "late", "ping")) === "PONG");
    place.remove("late.yaml");
    await until("it is gone", async () => (await dig("late.shop.svc.cluster.local")) === "NXDOMAIN");
  });

  test("stay known while the control plane is away", async () => {
    assert.equal(await controlPlane.stop(), 0);
    assert.equal(await dig("store.shop.svc.cluster.local"), "NOERROR 10.96.0.21");
    assert.equal(await redis(client, "cache.example.com", "ping"), "PONG");
  });

  test("are answered by nobody where the agent is not", async () => {
    await stranger.run(["nft", "-f", "-"], { input: (await client.run(["nft", "list", "ruleset"])).stdout });
    assert.equal(await redis(stranger, "store.shop.svc.cluster.local", "ping"), "");
  });
});
