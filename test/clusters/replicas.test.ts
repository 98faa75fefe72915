/** Two replicas of a control plane behind one address, and a workload behind a real Envoy: the one is killed, and nobody who calls the workload notices. */
import assert from "node:assert/strict";
import { copyFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type TLSSocket, connect as tlsConnect } from "node:tls";
import { until } from "../fakes/processes.ts";
import { enrol } from "../feature/caller.ts";
import type { GarrisonProcess, Scope } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "../kube/cluster.ts";
import { namespaceWith } from "../kube/objects.ts";
import { PROXIED } from "../kube/views.ts";

const CALLER = "spiffe://cluster.local/ns/shop/sa/caller";
/** Of `Cluster.pod`. */
const PORT = 8080;
const POD = "127.0.9.7";
const OBJECTS = `${namespaceWith("shop", ["web", "caller"])}---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { clusterIP: 10.96.0.77, selector: { app: web }, ports: [{ name: http, port: 80, targetPort: ${PORT} }] }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
`;
const SLICE = {
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name: "web-1", namespace: "shop", labels: { "kubernetes.io/service-name": "web" } },
  addressType: "IPv4",
  ports: [{ name: "http", port: PORT, protocol: "TCP" }],
  endpoints: [{ addresses: ["10.244.0.9"], conditions: { ready: true }, targetRef: { kind: "Pod", name: "web-1", namespace: "shop" } }],
};
const APP = `require("node:http").createServer((_, answer) => answer.end("served")).listen(${PORT}, "127.0.0.1");`;

/** An address that leads to whichever of several ports takes a connection, as a Service's does. */
async function front(scope: Scope, ports: () => readonly number[]): Promise<number> {
  const open = new Set<Socket>();
  const lead = (near: Socket, [port, ...others]: readonly number[]): void => {
    if (port === undefined) return void near.destroy();
    const far = connect(port, "127.0.0.1");
    far.once("error", () => lead(near, others));
    far.once("connect", () => {
      far.removeAllListeners("error");
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        open.add(one);
        one.on("error", () => other.destroy());
        one.on("close", () => other.destroy());
        one.pipe(other);
      }
    });
  };
  const server = createServer((near) => lead(near, ports()));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  scope.after(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

describe("two replicas and a workload behind Envoy", { timeout: 300_000 }, () => {
  const endings: (() => void | Promise<void>)[] = [];
  const scope: Scope = { after: (end) => void endings.push(async () => void (await end())) };
  after(async () => {
    for (const end of endings) await end();
  });
  const [first, second] = [new Place({ after }), new Place({ after })];
  let cluster: Cluster;
  let killed: GarrisonProcess;
  let material: Awaited<ReturnType<typeof enrol>>;

  async function serve(at: Place, kubeconfig: string): Promise<GarrisonProcess> {
    const process = at.start(["serve", "--kubeconfig", kubeconfig, "--ca-secret", "garrison-ca/garrison-ca", "--listen", "127.0.0.1:0"]);
    await process.line(/ control plane serves /);
    return process;
  }

  /** The status line of one request on a connection of its own; empty where there was no answer. */
  function ask(path: string): Promise<string> {
    return new Promise((resolve) => {
      const { key, chain: cert, roots: ca } = material;
      const socket: TLSSocket = tlsConnect({ host: POD, port: PORT, key, cert, ca, checkServerIdentity: () => undefined });
      let text = "";
      socket.setTimeout(10_000, () => socket.destroy());
      socket.on("secureConnect", () => socket.write(`GET ${path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n`));
      socket.on("data", (bytes) => {
        text += bytes.toString("latin1");
      });
      socket.on("error", () => resolve(""));
      socket.on("close", () => resolve(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? ""));
    });
  }

  const proxyAt = async (at: Place): Promise<string | undefined> =>
    (await at.status()).workloads.find(({ workload }) => workload === "shop/web-1")?.proxies[0]?.state;

  before(async () => {
    cluster = await Cluster.start(first);
    await cluster.apply(OBJECTS);
    await cluster.pod("shop", "web-1", { account: "web", ip: POD, labels: { app: "web", ...PROXIED } });
    await cluster.pod("shop", "caller-1", { account: "caller", ip: "127.0.9.8" });
    await cluster.create(SLICE as never);
    const kubeconfig = await cluster.controlPlaneKubeconfig();
    killed = await serve(first, kubeconfig);
    await serve(second, kubeconfig);
    const port = await front(scope, () => [first.controlPlane().port, second.controlPlane().port]);
    const audience = "istio-ca";
    material = await enrol(first.controlPlane(), CALLER, await cluster.token("shop", "caller", { audience, pod: "caller-1" }));
    const [token, root] = [join(first.folder, "token"), join(first.folder, "root.pem")];
    writeFileSync(token, await cluster.token("shop", "web", { audience, pod: "web-1" }), { mode: 0o600 });
    copyFileSync(first.controlPlane().rootCertificate, root);
    const place = [
      "--control-plane",
      `127.0.0.1:${port}`,
      "--root-ca",
      root,
      "--token-file",
      token,
      "--state",
      join(first.folder, "agent"),
    ];
    const agent = first.start(["run", "--workload", "shop/web-1", "--proxy", "envoy", ...place], [process.execPath, "-e", APP]);
    await until("it answers by its proxy", async () => (await ask("/")) === "200", 60_000).catch((error: unknown) =>
      assert.fail(`${String(error)}\n${agent.output}`),
    );
    await until("its proxy is at the first", async () => (await proxyAt(first)) === "acked");
  });

  test("calls go on while one is killed, and the other has the proxy soon, with what changes then", async () => {
    const answers: string[] = [];
    let asking = true;
    const calls = (async () => {
      while (asking) answers.push(await ask("/"));
    })();
    const before = answers.length;
    await killed.kill();
    const began = performance.now();
    await until("the other has its proxy", async () => (await proxyAt(second)) === "acked", 30_000);
    const away = performance.now() - began;
    const deny = { rules: [{ to: [{ operation: { paths: ["/closed"] } }] }], action: "DENY" };
    await cluster.create({
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name: "closed", namespace: "shop" },
      spec: deny,
    } as never);
    await until("what changed is in force", async () => (await ask("/closed")) === "403");
    asking = false;
    await calls;
    assert.ok(answers.length > before + 10, `${answers.length} calls`);
    assert.deepEqual(
      answers.filter((status) => status !== "200"),
      [],
    );
    // An agent and its Envoy try again at once, and then after a second or two.
    assert.ok(away < 15_000, `${away} ms`);
  });
});
