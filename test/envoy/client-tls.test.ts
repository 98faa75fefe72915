/** How a client's proxy speaks to servers: every case of `test/corpus/client-tls` by the embedded proxy and by a real Envoy. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { UpstreamService, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { Credentials } from "../../src/proxy/credentials.ts";
import { EmbeddedProxy } from "../../src/proxy/embedded-proxy.ts";
import { renderEnvoy } from "../../src/render/envoy/render.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { RecordKeeper } from "../fakes/proxy-setup.ts";
import { meshOf } from "../fixture/yaml-mesh.ts";
import { ask, exchange, requestBytes } from "./client.ts";
import { type ClientTlsCase, ENTRY_CASES, type Files, hostOf, type Listeners, MESH_CASES, meshYaml } from "./client-tls-cases.ts";
import { CLIENT, FILE_CLIENT, type Servers, startServers } from "./client-tls-servers.ts";
import { workFolder } from "./envoy-process.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { freePort, LOOPBACK } from "./loopback.ts";
import { Scenario } from "./scenario.ts";

const mesh = new FakeCa("mesh");
const outside = new FakeCa("outside");
const folder = workFolder();
let servers: Servers;
let files: Files;

function write(name: string, text: string): string {
  const path = join(folder.path, name);
  writeFileSync(path, text);
  return path;
}

before(async () => {
  servers = await startServers(
    mesh,
    outside,
    new FakeCa("stranger"),
    ENTRY_CASES.map((_, index) => hostOf(index)),
  );
  const client = outside.serverMaterial({ identities: [FILE_CLIENT] });
  const meshClient = mesh.serverMaterial({ identities: [FILE_CLIENT] });
  files = {
    MESH_CA: write("mesh-ca.pem", mesh.rootPem),
    MESH_CLIENT_CERTIFICATE: write("mesh-client.pem", meshClient.chain),
    MESH_CLIENT_KEY: write("mesh-client.key", meshClient.key),
    PUBLIC_CA: write("public-ca.pem", outside.rootPem),
    CLIENT_CERTIFICATE: write("client.pem", client.chain),
    CLIENT_KEY: write("client.key", client.key),
    CRL_OF_GOOD: write("good.crl", outside.crl(servers.goodChain)),
    CRL_OF_OTHERS: write("others.crl", outside.crl(client.chain)),
  };
});

after(() => {
  servers.close();
  folder[Symbol.dispose]();
});

async function ports(count: number): Promise<readonly number[]> {
  const found: number[] = [];
  while (found.length < count) found.push(await freePort());
  return found;
}

async function listenersOf(): Promise<Listeners> {
  return { address: LOOPBACK, mesh: await ports(MESH_CASES.length), entries: await ports(ENTRY_CASES.length) };
}

function policyOf(listeners: Listeners): WorkloadPolicy {
  const policy = meshOf(meshYaml(servers.ports, listeners, files)).policies.get("shop/client");
  assert.ok(policy);
  return policy;
}

/** What the application gets: what the server said of the connection, or `refused`. */
async function callServer(port: number, name: string): Promise<{ readonly how: string; readonly sni: string }> {
  const text = await exchange({ port }, requestBytes({ headers: [["x-case", name]] }), (received) => received.endsWith("}"));
  const body = /\{"how".*\}/.exec(text)?.[0];
  return body === undefined ? { how: "refused", sni: "" } : (JSON.parse(body) as { how: string; sni: string });
}

/** The policy with one more listener of two services, of which one has roots in a file that is not there. */
function sharedListener(policy: WorkloadPolicy, port: number): WorkloadPolicy {
  const service = (host: string, roots?: string): UpstreamService => ({
    service: `shop/${host}`,
    host,
    port: 80,
    protocol: "http",
    sni: `outbound_.80_._.${host}`,
    ...(roots === undefined ? {} : { tls: { sni: host, verify: { names: [{ kind: "dns", value: host }], roots } } }),
    endpoints: [{ address: "127.0.0.1", port: servers.ports.get("plain") ?? 0, mtls: false }],
  });
  const services = [service("good.example.com"), service("bad.example.com", join(folder.path, "nobody.pem"))];
  const listener = { name: "shared", bind: { kind: "tcp", host: LOOPBACK, port }, protocol: "http", services } as const;
  return { ...policy, outbound: [...policy.outbound, listener] };
}

/** Every case by one engine. */
function askAll(engine: string, skip: false | string, listeners: () => Listeners): void {
  const run = (group: string, one: ClientTlsCase, host: string, portOf: () => number): void => {
    test(`${group}: ${one.name} (${one.expect})`, { skip }, async () => {
      const name = `${engine} ${group} ${one.name}`;
      const { how, sni } = await callServer(portOf(), name);
      assert.equal(how, one.expect);
      if (one.sni !== undefined) assert.equal(sni, one.sni === "HOST" ? host : one.sni);
      // What is refused has been seen by nobody.
      assert.equal(servers.seen.has(name), one.expect !== "refused");
    });
  };
  for (const [index, one] of MESH_CASES.entries()) run("in the mesh", one, "", () => listeners().mesh[index] ?? 0);
  for (const [index, one] of ENTRY_CASES.entries()) run("by an entry", one, hostOf(index), () => listeners().entries[index] ?? 0);
  test("no byte in the clear has reached a server that must get none", { skip }, () => assert.equal(servers.bytesInTheClear(), 0));
}

describe("the embedded proxy", () => {
  const credentials = new Credentials();
  const proxy = new EmbeddedProxy({ credentials, recorder: new RecordKeeper(), logger: silentLogger, limits: { connectMs: 2_000 } });
  let listeners: Listeners;
  before(async () => {
    process.env.SSL_CERT_FILE = files.PUBLIC_CA;
    credentials.update(mesh.material(CLIENT));
    listeners = await listenersOf();
    await proxy.apply(policyOf(listeners));
  });
  after(async () => {
    delete process.env.SSL_CERT_FILE;
    await proxy.close(0);
  });
  askAll("embedded", false, () => listeners);
  test("a file that is not there closes its own service, and no other of its listener", async () => {
    const port = await freePort();
    await proxy.apply(sharedListener(policyOf(listeners), port));
    assert.equal((await ask({ port }, { host: "good.example.com" })).status, 200);
    assert.equal((await ask({ port }, { host: "bad.example.com" })).status, 503);
  });
});

describe("Envoy", () => {
  const skip = skipWithoutEnvoy();
  let listeners: Listeners;
  let scenario: Scenario | undefined;
  before(async () => {
    if (skip) return;
    listeners = await listenersOf();
    scenario = await Scenario.start(policyOf(listeners), mesh, mesh.material(CLIENT), outside.rootPem);
  });
  after(() => scenario?.stop());
  askAll("Envoy", skip, () => listeners);
  test("Envoy refused nothing of all this", { skip }, () => assert.deepEqual(scenario?.controlPlane.nacks, []));
  test("a file that is not there closes its own service, and no other of its listener", { skip }, async () => {
    assert.ok(scenario);
    const port = await freePort();
    await scenario.controlPlane.serve(renderEnvoy(sharedListener(policyOf(listeners), port)));
    assert.equal((await ask({ port }, { host: "good.example.com" })).status, 200);
    assert.equal((await ask({ port }, { host: "bad.example.com" })).status, 503);
    assert.match(scenario.controlPlane.nacks.join(), /bad\.example\.com.*nobody\.pem/);
  });
});
