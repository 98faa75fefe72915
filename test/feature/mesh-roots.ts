/** Roots that the MeshConfig names, changed under a running mesh, whichever proxies it has. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request } from "node:https";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { authorityId } from "../../src/ca/authority-id.ts";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { WorkloadApiTestClient } from "../fakes/workload-api-client.ts";
import type { FaultOptions } from "./faults.ts";
import { CLIENT, CLIENT_IDENTITY } from "./mesh.ts";
import { type ProxyFlags, Scene } from "./scene.ts";

/** An entry of `caCertificates`. */
interface Entry {
  readonly pem: string;
  readonly trustDomains?: readonly string[];
}

const WEST_CLIENT = "spiffe://west.example/ns/shop/sa/client";
const WEST_SERVER = "spiffe://west.example/ns/shop/sa/server";

/** The ConfigMap `istio`. */
export function meshRoots(...entries: readonly object[]): string {
  return `apiVersion: v1
kind: ConfigMap
metadata: { name: istio, namespace: istio-system }
data:
  mesh: |
    caCertificates: ${JSON.stringify(entries)}
`;
}

const WEST_POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: west, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  rules:
    - from: [{ source: { principals: ["west.example/ns/shop/sa/client"] } }]
      to: [{ operation: { paths: ["/west"] } }]
`;

const westService = (port: number) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: west, namespace: shop }
spec:
  hosts: [server.west.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: ${port} } }]
  subjectAltNames: ["${WEST_SERVER}"]
`;

/** Of the client's Sidecar, which stands last in its file. */
const westListener = (outbound: number) =>
  `    - { port: { number: ${outbound}, protocol: HTTP, name: west }, bind: 127.0.0.1, hosts: ["shop/server.west.example"] }\n`;

/** One request, as a client with a certificate of its own or with none; 0 where there is no answer. */
function get(port: number, path: string, material?: TlsMaterial): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const own = material === undefined ? {} : { key: material.key, cert: material.chain };
  const sent = request({ host: "127.0.0.1", port, path, ...own, rejectUnauthorized: false, agent: false }, (response) => {
    resolve(response.statusCode ?? 0);
    response.destroy();
  });
  sent.on("error", () => resolve(0));
  sent.end();
  return promise;
}

/** The same tests for each proxy. */
export function describeMeshRoots(name: string, flags: ProxyFlags, { skip = false, scope }: FaultOptions): void {
  describe(`roots of the MeshConfig, with ${name}`, { skip, timeout: 120_000 }, () => {
    const scene = new Scene(scope, flags);
    const [old, west] = [new FakeCa("the CA before"), new FakeCa("the CA of the west")];
    const entry = (ca: FakeCa, ...trustDomains: readonly string[]): Entry => ({ pem: ca.rootPem, trustDomains });
    const configure = (...entries: readonly object[]) => scene.place.write("istio.yaml", meshRoots(...entries));
    const clients = {
      old: old.material(CLIENT_IDENTITY),
      west: west.material(WEST_CLIENT),
      westAsOurs: west.material(CLIENT_IDENTITY),
      oldAsWest: old.material(WEST_CLIENT),
    };
    const ask = (client: keyof typeof clients) =>
      get(scene.ports.inbound, client.endsWith("Ours") || client === "old" ? "/open" : "/west", clients[client]);
    const askAll = async () => Promise.all([ask("old"), ask("west"), ask("westAsOurs"), ask("oldAsWest")]);
    const untilAll = (expected: readonly number[]) =>
      until(`they get ${expected.join()}`, async () => (await askAll()).join() === expected.join());

    before(async () => {
      if (skip !== false) return;
      await scene.start();
      scene.place.write("west.yaml", WEST_POLICY);
    });

    test("nobody of another CA is let in without one", async () => {
      assert.deepEqual(await askAll(), [0, 0, 0, 0]);
    });

    test("a root of the mesh's own trust domain lets in whom it has certified, by the mesh's name alone", async () => {
      configure(entry(old));
      await untilAll([200, 0, 0, 0]);
      assert.equal(await scene.ask("/open"), 200);
    });

    test("a root of another trust domain lets in its identities, and never one of ours; nor ours one of them", async () => {
      configure(entry(old), entry(west, "west.example"));
      await untilAll([200, 200, 0, 0]);
      assert.equal(await scene.ask("/open"), 200);
    });

    test("programs have the roots by the Workload API, each by its trust domain", async () => {
      const client = new WorkloadApiTestClient((await scene.agentStatus(CLIENT)).workloadApi.socket);
      const { bundles } = await client.x509Bundles().next();
      client.close();
      assert.deepEqual(Buffer.from(bundles["spiffe://west.example"] ?? []), Buffer.from(west.root.der));
      assert.ok(Buffer.from(bundles["spiffe://cluster.local"] ?? []).includes(old.root.der));
    });

    test("operators see each root, where it is from, and that it is none of the CA's", async () => {
      const list = (await scene.place.run("federation", "list")).stdout;
      assert.match(list, /^cluster\.local trusted\n {2}pem\n {2}\S+istio\.yaml:6:22 caCertificates\[0\]\n {2}root [0-9a-f]{40}, until /m);
      assert.match(list, /^west\.example trusted\n {2}pem\n {2}\S+istio\.yaml:6:\d+ caCertificates\[1\]\n {2}root /m);
      const { stdout } = await scene.place.run("ca", "authorities");
      assert.match(stdout, new RegExp(`^${authorityId(old.root)} trusted beside the CA, signs nothing here, until `, "m"));
    });

    test("servers of the other trust domain are called, and are believed by its root alone", async () => {
      const [port, outbound] = [await pickPort(), await pickPort()];
      let material = west.material(WEST_SERVER);
      const server = createServer({ key: material.key, cert: material.chain }, (_, response) => response.end("here\n"));
      scene.place.after(() => {
        server.close();
        server.closeAllConnections();
      });
      server.listen(port, "127.0.0.1");
      await once(server, "listening");
      scene.place.write("west-service.yaml", westService(port));
      scene.place.write("client.yaml", scene.place.read("client.yaml") + westListener(outbound));
      const answer = () => callThrough(outbound);
      await until("the server of the west is called", async () => (await answer()) === 200);
      material = old.material(WEST_SERVER);
      server.setSecureContext({ key: material.key, cert: material.chain });
      server.closeAllConnections();
      await until("its impostor is not", async () => (await answer()) === 503);
    });

    test("what cannot be a root changes nothing, and is told with its place", async () => {
      configure(entry(old), { pem: clients.west.chain, trustDomains: ["west.example"] });
      await scene.serve.line(/istio\.yaml:6:\d+: error GAR0320: `caCertificates\[1\]` cannot be used: a certificate is not a CA's/);
      assert.deepEqual(await askAll(), [200, 200, 0, 0]);
    });

    test("a root that is taken out is refused at once, and the others stay", async () => {
      configure(entry(old));
      await untilAll([200, 0, 0, 0]);
      configure();
      await untilAll([0, 0, 0, 0]);
      assert.equal(await scene.ask("/open"), 200);
    });

    test("an authority whose root the MeshConfig names is not revoked while it does", async () => {
      const socket = join(scene.place.state, "admin.sock");
      const { authorities } = (await callAdmin(socket, "GET", "/v1/ca/authorities")) as { authorities: readonly { id: string }[] };
      const first = authorities[0]?.id ?? "";
      const { bundles } = (await callAdmin(socket, "GET", "/v1/ca/trust")) as { bundles: readonly { roots: string }[] };
      for (const step of ["prepare", "activate"]) assert.equal((await scene.place.run("ca", step)).exit, 0);
      configure({ pem: bundles[0]?.roots });
      await until("the MeshConfig names it", async () =>
        (await scene.place.run("ca", "authorities")).stdout.includes(`${first} trusted beside`),
      );
      const refused = await scene.place.run("ca", "revoke", "--authority", first, "--force");
      assert.match(
        refused.stderr,
        /the MeshConfig names the root of [0-9a-f]{40}, so that it would be trusted all the same: \S+istio\.yaml:6:/,
      );
      assert.notEqual(refused.exit, 0);
    });
  });
}

/** What the client's proxy answers. */
async function callThrough(port: number): Promise<number> {
  return fetch(`http://127.0.0.1:${port}/`).then(
    ({ status }) => status,
    () => 0,
  );
}
