/** Several clusters in one mesh: two real API servers, and the rights that the charts give. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parse } from "yaml";
import type { ClusterStatus } from "../../src/server/cluster/cluster-status.ts";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { call } from "../fakes/http-clients.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { enrol, requestCertificate } from "../feature/caller.ts";
import { type GarrisonProcess, garrison } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { service, slice } from "./objects.ts";
import { clusterNamed, SECRET, SECRETS, serveEast, startAgent, type TwoClusters, twoClusters } from "./two-clusters.ts";
import { PROXIED, reachedBy, workloadsOf } from "./views.ts";

const PAY = "spiffe://cluster.local/ns/shop/sa/pay";
const CALLER = "spiffe://cluster.local/ns/shop/sa/caller";
const ELSEWHERE = "spiffe://cluster.local/ns/other/sa/pay";
/** Pods of one name in both. */
const [EAST_POD, WEST_POD] = ["10.244.0.7", "10.245.0.7"];
/** On loopback, where an agent can be; no EndpointSlice may say so, but an entry may select it. */
const [EAST_CALLER, WEST_TILL] = ["127.0.0.31", "127.0.0.22"];
const ALL = "shop/caller,shop/pay-1,shop/pay-1@west,shop/till@west";

const place = new Place({ after });
let clusters: TwoClusters;
let serve: GarrisonProcess;
let ports: { readonly pay: number; readonly egress: number };

function policies(pay: number, egress: number): string {
  return `---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: caller, namespace: shop }
spec:
  workloadSelector: { labels: { app: caller } }
  egress:
    - { port: { number: 80, protocol: HTTP, name: http }, bind: 127.0.0.1, hosts: ["./pay.shop.svc.cluster.local"] }
    - { port: { number: ${egress}, protocol: HTTP, name: http }, bind: 127.0.0.1, hosts: ["./till.shop.internal"] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: till, namespace: shop }
spec:
  hosts: [till.shop.internal]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: ${pay} }]
  workloadSelector: { labels: { app: till } }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: callers, namespace: shop }
spec:
  selector: { matchLabels: { app: till } }
  rules: [{ from: [{ source: { principals: ["cluster.local/ns/shop/sa/caller"] } }], to: [{ operation: { paths: ["/pay"] } }] }]
`;
}

before(async () => {
  const [pay, egress] = await Promise.all([pickPort(), pickPort()]);
  ports = { pay, egress };
  clusters = await twoClusters(place);
  const { east, west, secret } = clusters;
  await Promise.all([east.apply(service("pay", pay) + policies(pay, egress)), west.apply(service("pay", pay))]);
  await east.pod("shop", "pay-1", { account: "pay", ip: EAST_POD, labels: { app: "pay", ...PROXIED } });
  await east.pod("shop", "caller", { account: "caller", ip: EAST_CALLER, labels: { app: "caller", ...PROXIED } });
  await west.pod("shop", "pay-1", { account: "pay", ip: WEST_POD, labels: { app: "pay", ...PROXIED } });
  await west.pod("shop", "till", { account: "pay", ip: WEST_TILL, labels: { app: "till", ...PROXIED } });
  await west.create(slice("pay", pay, { "pay-1": WEST_POD }));
  await east.apply(secret);
  serve = await serveEast(place, clusters);
});

const reached = async () => (await reachedBy(place, "shop/caller", "shop/pay")).join();

/** Where `pay` is served, and by whom. */
const at = (...addresses: readonly string[]) => addresses.map((address) => `${address}:${ports.pay} ${PAY}`).join();

async function untilState(name: string, state: ClusterStatus["state"] | undefined): Promise<ClusterStatus | undefined> {
  await until(`${name} is ${state}`, async () => (await clusterNamed(place, name))?.state === state, 40_000);
  return clusterNamed(place, name);
}

const workloads = async () => (await workloadsOf(place)).join();

function ask(identity: string, token: string, cluster?: string) {
  const csr = buildCsr(generateKey(), identity);
  return requestCertificate(place.controlPlane(), csr, { token, ...(cluster === undefined ? {} : { cluster }) });
}

function west(namespace: string, account: string): Promise<string> {
  return clusters.west.token(namespace, account, { audience: "istio-ca" });
}

/** The west's Secret with another kubeconfig, or what is said to be one. */
function secretWith(kubeconfig: string, key = "west", name = SECRET.metadata.name) {
  const metadata = { name, namespace: SECRETS, labels: { "istio/multiCluster": "true" } };
  return { apiVersion: "v1", kind: "Secret", metadata, stringData: { [key]: kubeconfig } };
}

describe("several clusters in one mesh", { timeout: 300_000 }, () => {
  test("workloads of both are workloads of the mesh, those of the other by its name, and its state is told", async () => {
    assert.equal(await workloads(), ALL);
    const status = await untilState("west", "connected");
    assert.partialDeepStrictEqual(status, { secret: "istio-system/istio-remote-secret-west", server: clusters.west.server.url, pods: 2 });
    const { stdout } = await place.run("clusters");
    assert.match(
      stdout,
      /^east own: its policies hold for all, 2 pods\nwest connected since \S+Z, 2 pods\n {2}https:\/\/127\.0\.0\.1:\d+, Secret istio-system\/istio-remote-secret-west\n$/,
    );
    assert.match((await place.run("status")).stdout, /^Clusters:\n {2}east own/m);
  });

  test("a service of one name is served by the pods of both", async () => {
    assert.equal(await reached(), at(WEST_POD));
    await clusters.east.create(slice("pay", ports.pay, { "pay-1": EAST_POD }));
    await until("both serve", async () => (await reached()) === at(EAST_POD, WEST_POD));
    await clusters.east.remove(slice("pay", ports.pay, {}));
    await until("the west's serves", async () => (await reached()) === at(WEST_POD));
  });

  test("its namespaces have the roots too, by the rights of its reader, and they are put back", async () => {
    const path = "/api/v1/namespaces/shop/configmaps/istio-ca-root-cert";
    const roots = readFileSync(place.controlPlane().rootCertificate, "utf8");
    type RootMap = { readonly data?: Readonly<Record<string, string>> };
    const written = async (): Promise<boolean> => (await clusters.west.read<RootMap>(path)).data?.["root-cert.pem"] === roots;
    await until("they are written", written, 40_000);
    await clusters.west.remove({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "istio-ca-root-cert", namespace: "shop" } });
    await until("they are put back", written, 40_000);
  });

  test("a pod for it is injected with its name, and one for this cluster without", async () => {
    const file = join(place.folder, "pod.yaml");
    writeFileSync(
      file,
      "apiVersion: v1\nkind: Pod\nmetadata: { name: a, namespace: shop }\nspec: { containers: [{ name: app, image: app }] }\n",
    );
    const inject = (...flags: readonly string[]) =>
      garrison(["inject", "-f", file, "--inject-image", "registry.example/garrison:1", ...flags]);
    assert.match((await inject("--cluster", "west")).stdout, / --cluster=west\b/);
    assert.doesNotMatch((await inject()).stdout, /--cluster/);
    assert.match((await inject("--cluster", "a b")).stderr, /`a b` is not the name of a cluster/);
  });

  test("a token is reviewed by the cluster that issued it, and by no other", async () => {
    const eastern = await clusters.east.token("shop", "pay", { audience: "istio-ca" });
    const western = await west("shop", "pay");
    const codes = await Promise.all([
      ask(PAY, eastern),
      ask(PAY, eastern, "east"),
      ask(PAY, western, "west"),
      ask(PAY, eastern, "west"),
      ask(PAY, western),
      ask(PAY, western, "east"),
      ask(PAY, western, "north"),
    ]);
    assert.deepEqual(
      codes.map(({ code }) => code),
      ["OK", "OK", "OK", "UNAUTHENTICATED", "UNAUTHENTICATED", "UNAUTHENTICATED", "UNAUTHENTICATED"],
    );
    const { stdout } = await place.run("ca", "list", "--caller", "token of cluster west", "--json");
    assert.equal(JSON.parse(stdout.trim().split("\n")[0] ?? "{}").identity, PAY);
  });

  test("a workload of one calls a workload of the other by mutual TLS, each with a token of its own cluster", async (t) => {
    const scope = new Place(t);
    const server = `require("http").createServer((q,r)=>r.end("paid in the west")).listen(${ports.pay},"127.0.0.1",()=>console.log("at work"))`;
    const pay = startAgent(place, { cluster: "west", workload: "shop/till", token: await west("shop", "pay") }, ["node", "-e", server]);
    scope.after(() => pay.stop());
    const token = await clusters.east.token("shop", "caller", { audience: "istio-ca" });
    const caller = startAgent(place, { cluster: "east", workload: "shop/caller", token }, ["sh", "-c", "echo at work; exec sleep 1000"]);
    scope.after(() => caller.stop());
    await Promise.all([pay.line(/^at work$/), caller.line(/^at work$/)]);
    const headers = { host: "till.shop.internal" };
    const answer = await call({ port: ports.egress, path: "/pay", headers });
    assert.deepEqual([answer.status, answer.body.toString()], [200, "paid in the west"]);
    assert.equal((await call({ port: ports.egress, path: "/other", headers })).status, 403);
    await until("it is on record", async () => {
      const { stdout } = await place.run("audit", "--workload", "shop/till@west", "--json");
      return stdout.includes(`"caller":"${CALLER}"`) && stdout.includes('"effect":"deny"');
    });
    await assert.rejects(call({ host: WEST_TILL, port: ports.pay, path: "/pay" }));
  });

  test("what the other one vouches for can be narrowed to namespaces, at once", async () => {
    assert.equal((await ask(ELSEWHERE, await west("other", "pay"), "west")).code, "OK");
    const narrowed = parse(clusters.secret) as typeof SECRET;
    const annotations = { "garrison.dev/namespaces": "shop" };
    await clusters.east.replace({ ...narrowed, metadata: { ...narrowed.metadata, annotations } });
    await until("it is narrowed", async () => JSON.stringify(await clusterNamed(place, "west")).includes('"namespaces":["shop"]'));
    assert.equal((await ask(ELSEWHERE, await west("other", "pay"), "west")).code, "UNAUTHENTICATED");
    assert.equal((await ask(PAY, await west("shop", "pay"), "west")).code, "OK");
    await clusters.east.replace(narrowed);
    await until("it is not any more", async () => !JSON.stringify(await clusterNamed(place, "west")).includes("namespaces"));
    assert.equal((await ask(ELSEWHERE, await west("other", "pay"), "west")).code, "OK");
  });

  test("a kubeconfig that cannot be taken is told without its contents, and touches no other cluster", async () => {
    const evil = JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      "current-context": "a",
      clusters: [{ name: "a", cluster: { server: "https://127.0.0.1:1", "certificate-authority": "/etc/passwd" } }],
      contexts: [{ name: "a", context: { cluster: "a", user: "a" } }],
      users: [{ name: "a", user: { exec: { command: "/bin/sh", args: ["-c", "echo SECRET-THING"] } } }],
    });
    const north = secretWith(evil, "north", "north");
    await clusters.east.create(north as never);
    assert.match(
      (await untilState("north", "refused"))?.problem ?? "",
      /`certificate-authority` in the cluster of the kubeconfig is refused/,
    );
    await serve.line(/GAR0360.*cluster `north` is not taken in/);
    await clusters.east.replace(secretWith("nonsense: [") as never);
    await until("it is told", async () => /not plain YAML/.test((await clusterNamed(place, "west"))?.problem ?? ""));
    assert.equal((await clusterNamed(place, "west"))?.state, "connected");
    assert.equal(await reached(), at(WEST_POD));
    assert.ok(!serve.output.includes("SECRET-THING"));
    await clusters.east.remove(north);
    await untilState("north", undefined);
    await clusters.east.replace(parse(clusters.secret) as typeof SECRET);
    await until("it is mended", async () => (await clusterNamed(place, "west"))?.problem === undefined);
  });

  test("while the other API server is away, what it said last is in force, and its tokens are not believed", async () => {
    const material = await enrol(place.controlPlane(), CALLER, await clusters.east.token("shop", "caller", { audience: "istio-ca" }));
    const token = await west("shop", "pay");
    await clusters.west.server.stop("kube-apiserver");
    await untilState("west", "away");
    assert.equal(await reached(), at(WEST_POD));
    assert.equal(await workloads(), ALL);
    assert.equal((await ask(PAY, token, "west")).code, "UNAVAILABLE");
    assert.equal((await requestCertificate(place.controlPlane(), buildCsr(generateKey(), CALLER), { material })).code, "OK");
    await serve.line(/GAR0363.*cluster `west` cannot be watched/);
  });

  test("a start does not wait for it for ever, and takes it in when it comes", async (t) => {
    const second = new Place(t);
    const began = Date.now();
    const other = await serveEast(second, clusters, "--remote-cluster-timeout", "2");
    assert.ok(Date.now() - began >= 2_000);
    await other.line(/serving without clusters that could not be read in time .*west/);
    assert.equal((await second.status()).workloads.length, 2);
    await clusters.west.server.startServing();
    await second.untilStatus("it is taken in", ({ workloads: all }) => all.length === 4);
    await untilState("west", "connected");
  });

  test("a Secret that is removed takes the cluster's workloads, endpoints and word with it, at once", async () => {
    const token = await west("shop", "pay");
    assert.equal((await ask(PAY, token, "west")).code, "OK");
    await clusters.east.remove(SECRET);
    await until("it is gone", async () => (await workloads()) === "shop/caller,shop/pay-1", 5_000);
    assert.equal(await reached(), "");
    assert.equal(await clusterNamed(place, "west"), undefined);
    assert.equal((await ask(PAY, token, "west")).code, "UNAUTHENTICATED");
  });

  test("a Secret without the label is nobody's business", async () => {
    const secret = parse(clusters.secret) as typeof SECRET;
    await clusters.east.create({ ...secret, metadata: { ...SECRET.metadata, annotations: {} } });
    const north = secretWith("{}", "north", "north");
    await clusters.east.create(north as never);
    await untilState("north", "refused");
    assert.equal(await clusterNamed(place, "west"), undefined);
  });
});
