/** Roots that the MeshConfig names by the address of a bundle: fetched by the Web PKI from public addresses, kept, and known offline by their domains. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { formatBundle } from "../../src/ca/federation/bundle-format.ts";
import type { MeshRootsStatus } from "../../src/ca/federation/mesh-roots.ts";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { TrustStatus } from "../../src/server/trust-status.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { until } from "../fakes/processes.ts";
import { type GarrisonProcess, garrison } from "./garrison.ts";
import { meshFiles, SERVER, UNUSED_PORTS } from "./mesh.ts";
import { meshRoots } from "./mesh-roots.ts";
import { Place } from "./place.ts";

const WEST_CLIENT = "spiffe://west.example/ns/shop/sa/client";

const WEST_POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: west, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  rules:
    - from: [{ source: { principals: ["west.example/ns/shop/sa/client"] } }]
`;

const [web, west] = [new FakeCa("web"), new FakeCa("west")];

/** A bundle's endpoint at 127.0.0.1, with a certificate of the Web PKI. */
async function serveBundle(): Promise<Server> {
  const { key, chain: cert } = web.serverMaterial({ addresses: ["127.0.0.1"] });
  const document = formatBundle({ roots: west.rootPem, jwks: "", sequence: 4, refreshHintSeconds: 300 });
  const server = createServer({ key, cert }, (_, response) => response.end(document));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

async function start(place: Place, flags: readonly string[]): Promise<GarrisonProcess> {
  const file = join(place.folder, "web.pem");
  writeFileSync(file, web.rootPem);
  const args = ["serve", "--config", place.config, "--listen", "127.0.0.1:0", ...flags];
  const serve = place.start(args, [], { env: { NODE_EXTRA_CA_CERTS: file } });
  await serve.line(/ control plane serves /);
  return serve;
}

const ask = (place: Place, path: string) => callAdmin(join(place.state, "admin.sock"), "GET", path);
const statusOf = async (place: Place) => ((await ask(place, "/v1/federation")) as readonly MeshRootsStatus[])[0];
const domains = async (place: Place) => ((await ask(place, "/v1/ca/trust")) as TrustStatus).bundles.map(({ trustDomain }) => trustDomain);

describe("a bundle that the MeshConfig names", { timeout: 180_000 }, () => {
  test("is fetched from an address that the operator allows, kept over a restart, and gone when it is taken out", async (t) => {
    const endpoint = await serveBundle();
    t.after(() => endpoint.close());
    const url = `https://127.0.0.1:${(endpoint.address() as AddressInfo).port}/`;
    const place = new Place(t, {
      ...meshFiles(UNUSED_PORTS),
      "istio.yaml": meshRoots({ spiffeBundleUrl: url, trustDomains: ["west.example"] }),
    });
    const allowed = ["--jwks-allow", "127.0.0.0/8"];
    const serve = await start(place, allowed);
    await until("the bundle is pushed", async () => (await domains(place)).includes("west.example"));
    const { state, sequence, roots = [] } = (await statusOf(place)) ?? {};
    assert.deepEqual([state, sequence, roots.length], ["trusted", 4, 1]);
    await serve.kill();
    endpoint.close();
    endpoint.closeAllConnections();
    await start(place, allowed);
    assert.deepEqual([(await domains(place)).toSorted(), (await statusOf(place))?.state], [["cluster.local", "west.example"], "trusted"]);
    place.write("istio.yaml", meshRoots());
    await until("it is gone", async () => (await domains(place)).join() === "cluster.local");
  });

  test("is not fetched from where only the control plane reaches", async (t) => {
    const endpoint = await serveBundle();
    let connections = 0;
    endpoint.on("connection", () => {
      connections += 1;
    });
    t.after(() => endpoint.close());
    const { port } = endpoint.address() as AddressInfo;
    for (const host of ["127.0.0.1", "localhost"]) {
      const entry = { spiffeBundleUrl: `https://${host}:${port}/`, trustDomains: ["west.example"] };
      const place = new Place(t, { ...meshFiles(UNUSED_PORTS), "istio.yaml": meshRoots(entry) });
      await start(place, []);
      await until("it was refused", async () => /is not on the public internet/.test((await statusOf(place))?.failure ?? ""));
      assert.deepEqual([await domains(place), (await statusOf(place))?.state], [["cluster.local"], "waiting"]);
    }
    assert.equal(connections, 0);
  });

  test("is known offline by its trust domain: what its peers may is asked of a folder", async (t) => {
    const explain = async (roots: string) => {
      const place = new Place(t, { ...meshFiles(UNUSED_PORTS), "west.yaml": WEST_POLICY, "istio.yaml": roots });
      return garrison(["authz", "explain", SERVER, "-f", place.config, "--from", WEST_CLIENT, "--path", "/west"]);
    };
    const bundle = await explain(meshRoots({ spiffeBundleUrl: "https://west.example/", trustDomains: ["west.example"] }));
    const pem = await explain(meshRoots({ pem: west.rootPem, trustDomains: ["west.example"] }));
    assert.deepEqual([bundle.exit, pem.exit, (await explain(meshRoots())).exit], [0, 0, 1], bundle.stdout + pem.stdout);
  });

  test("a MeshConfig with roots that are none starts no control plane, and makes no CA", async (t) => {
    const place = new Place(t, { ...meshFiles(UNUSED_PORTS), "istio.yaml": meshRoots({ pem: west.material(WEST_CLIENT).chain }) });
    const { exit, stderr } = await place.run("serve", "--config", place.config, "--listen", "127.0.0.1:0", "--log-level", "error");
    assert.equal(exit, 3);
    assert.match(stderr, /istio\.yaml:6:22: error GAR0320: `caCertificates\[0\]` cannot be used: a certificate is not a CA's/);
  });
});
