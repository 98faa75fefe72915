/** A machine on a host of its own joins a group by one command, is captured, calls a service of the mesh and is called by name: mutual TLS both ways. */
import assert from "node:assert/strict";
import { chownSync, copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { until } from "../fakes/processes.ts";
import { GarrisonProcess, garrison } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { CapturedMesh, plainHttpServer, serviceYaml, workloadYaml } from "./captured-mesh.ts";
import { type Host, network } from "./hosts.ts";

const PROXY_USER = 1337;
const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";
const CART = "spiffe://cluster.local/ns/shop/sa/cart";
const NO_ANSWER = "000";

const CARTS = `apiVersion: v1
kind: ServiceAccount
metadata: { name: cart, namespace: shop }
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: cart, namespace: shop }
spec:
  metadata: { labels: { app: cart }, annotations: { sidecar.istio.io/interceptionMode: REDIRECT } }
  template: { serviceAccount: cart }
  probe: { periodSeconds: 1, failureThreshold: 1, httpGet: { port: 8080, path: /ready } }
`;

const STRICT = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
`;

describe("a machine that joins a group on a network", { timeout: 180_000 }, () => {
  const place = new Place({ after });
  const hosts = network(place, ["control", "client", "vm", "stranger"]);
  const { client, vm, stranger } = hosts;
  const cart = `cart-${vm.address}`;
  let agent: GarrisonProcess;

  /** By the service's name, which a resolver would lead to its address. */
  const ask = (from: Host, name: string, address: string): Promise<string> =>
    from.curl(`http://${name}.shop.svc.cluster.local/hello`, "--resolve", `${name}.shop.svc.cluster.local:80:${address}`);

  const joinAs = async (uid: number): Promise<GarrisonProcess> => {
    const folder = join(place.folder, `vm-${uid}`);
    mkdirSync(folder, { mode: 0o700 });
    copyFileSync(place.controlPlane().rootCertificate, join(folder, "root-cert.pem"));
    for (const path of [folder, join(folder, "root-cert.pem")]) chownSync(path, uid, uid);
    const { stdout, stderr } = await place.run("token", "join", "--group", "shop/cart");
    assert.notEqual(stdout, "", stderr);
    const where = ["--root-ca", join(folder, "root-cert.pem"), "--state", join(folder, "state"), "--output-certs", join(folder, "certs")];
    const who = ["--control-plane", `${hosts.control.address}:15012`, "--group", "shop/cart", "--join-token", stdout.trim()];
    return new GarrisonProcess(place, ["vm", "join", ...who, ...where, "--proxy", "envoy"], { prefix: vm.prefix(uid) });
  };

  before(async () => {
    place.write("ns.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n");
    place.write(
      "client.yaml",
      workloadYaml("client", client.address) + serviceYaml("client", "10.96.0.20", "{ name: http, port: 80, targetPort: 8080 }"),
    );
    place.write("carts.yaml", `${CARTS}${serviceYaml("cart", "10.96.0.10", "{ name: http, port: 80, targetPort: 8080 }")}---\n${STRICT}`);
    const mesh = new CapturedMesh(place, hosts.control);
    await mesh.serve();
    for (const host of [client, vm]) plainHttpServer(host, 8080);
    await Promise.all([mesh.join(client, "client"), client.listening(8080), vm.listening(8080)]);
    const { exit, stderr } = await garrison(["capture"], { prefix: vm.prefix() });
    assert.equal(exit, 0, stderr);
    agent = await joinAs(PROXY_USER);
    await agent.line(/ this machine is registered workload=shop\/cart-10\.77\.0\.3 /);
    await agent.line(/ proxy ready /);
  });

  test("is called by name, and calls by name, each side knowing who the other is", async () => {
    await until("the machine is well, and called", async () => (await ask(client, "cart", "10.96.0.10")) === `200 vm /hello for ${CLIENT}`);
    await until("the machine calls", async () => (await ask(vm, "client", "10.96.0.20")) === `200 client /hello for ${CART}`);
    const { workloads } = await place.status();
    const found = workloads.find(({ workload }) => workload === `shop/${cart}`);
    assert.deepEqual([found?.identity, found?.address, found?.health?.state], [CART, vm.address, "healthy"]);
  });

  test("takes nothing in plaintext", async () => {
    assert.equal(await stranger.curl(`http://${vm.address}:8080/hello`), NO_ANSWER);
  });

  test("is told whom to run as, where it is captured and the agent is somebody else", async () => {
    const wrong = await joinAs(0);
    assert.equal(await wrong.ended, 4);
    assert.match(wrong.output, /the group's machines are captured: agent and proxy are to run as user 1337, and not 0/);
    assert.match(wrong.output, /as root, run `garrison capture`/);
  });

  test("is called no more when it has left", async () => {
    assert.equal(await agent.stop(), 0);
    const { workloads } = await place.status();
    assert.deepEqual(
      workloads.map(({ workload }) => workload),
      ["shop/client"],
    );
    await until("nobody answers", async () => /^(503|000)/.test(await ask(client, "cart", "10.96.0.10")));
  });
});
