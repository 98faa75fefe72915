/** An Envoy that calls servers: one whose certificate was revoked is refused with the next connection, and others are called as before. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:https";
import { after, before, describe, test } from "node:test";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { until } from "../fakes/processes.ts";
import { enrol } from "../feature/caller.ts";
import { CLIENT, pickPort, SERVER, SERVER_IDENTITY } from "../feature/mesh.ts";
import { meshRoots } from "../feature/mesh-roots.ts";
import { Scene } from "../feature/scene.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

interface Copy {
  readonly name: string;
  readonly port: number;
  readonly outbound: number;
}

const service = ({ name, port }: Copy) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: shop }
spec:
  hosts: [${name}.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 127.0.0.1, ports: { http: ${port} } }]
  subjectAltNames: ["${SERVER_IDENTITY}"]
`;

const listener = ({ name, outbound }: Copy) =>
  `    - { port: { number: ${outbound}, protocol: HTTP, name: ${name} }, bind: 127.0.0.1, hosts: ["shop/${name}.example"] }\n`;

const serialOf = ({ chain }: TlsMaterial) => parseCertificates(chain)[0]?.serial ?? "";

const skip = skipWithoutEnvoy();

describe("an Envoy that calls a server whose certificate was revoked", { skip, timeout: 120_000 }, () => {
  const scene = new Scene({ after }, ["--proxy", "envoy"]);

  const issue = async () => enrol(scene.place.controlPlane(), SERVER_IDENTITY, (await scene.place.run("token", SERVER)).stdout.trim());

  /** A server that has the certificate and no agent, so that it does not get another; each connection is for one request. */
  const serve = async (material: TlsMaterial, port: number) => {
    const server = createServer({ key: material.key, cert: material.chain }, (_, response) => {
      response.setHeader("connection", "close").end("here\n");
    });
    scene.place.after(() => {
      server.close();
      server.closeAllConnections();
    });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
  };
  const ask = async ({ outbound }: Copy) => (await fetch(`http://127.0.0.1:${outbound}/`)).status;
  const revoke = (material: TlsMaterial) => scene.place.run("ca", "revoke", "--serial", serialOf(material));

  const copies: Copy[] = [];
  const materials: TlsMaterial[] = [];

  before(async () => {
    if (skip !== false) return;
    await scene.start();
    for (const name of ["first", "second"]) {
      const copy = { name, port: await pickPort(), outbound: await pickPort() };
      const material = await issue();
      await serve(material, copy.port);
      copies.push(copy);
      materials.push(material);
      scene.place.write(`${name}.yaml`, service(copy));
    }
    scene.place.write("client.yaml", scene.place.read("client.yaml") + copies.map(listener).join(""));
    for (const copy of copies) await until(`the server ${copy.name} is called`, async () => (await ask(copy).catch(() => 0)) === 200);
  });

  const at = (index: number) => {
    const [copy, material] = [copies[index], materials[index]];
    if (copy === undefined || material === undefined) throw new Error("there is no such server");
    return { copy, material };
  };

  test("is told of it before the command ends, refuses it, and goes on to call the others", async () => {
    const { exit, stdout, stderr } = await revoke(at(0).material);
    assert.equal(exit, 0, stderr);
    assert.match(stdout, /in force on 2 of 2 connected proxies after \d+ ms/);
    assert.deepEqual([await ask(at(0).copy), await ask(at(1).copy), await scene.ask("/open")], [503, 200, 200]);
  });

  test("calls servers of either authority while one takes over from the other, and none that is revoked", async () => {
    for (const step of ["prepare", "activate"]) assert.equal((await scene.place.run("ca", step)).exit, 0);
    assert.deepEqual([await ask(at(0).copy), await ask(at(1).copy)], [503, 200]);
    const port = await pickPort();
    const fresh = await issue();
    await serve(fresh, port);
    const copy = { name: "fresh", port, outbound: await pickPort() };
    scene.place.write("fresh.yaml", service(copy));
    scene.place.write("client.yaml", scene.place.read("client.yaml") + listener(copy));
    await until("the server of the new authority is called", async () => (await ask(copy).catch(() => 0)) === 200);
    assert.equal((await revoke(fresh)).exit, 0);
    assert.deepEqual([await ask(copy), await ask(at(1).copy), await scene.ask("/open")], [503, 200, 200]);
  });

  test("refuses it after a restart of the control plane and of its own agent, too", async () => {
    await scene.serve.kill();
    await scene.agent(CLIENT).kill();
    await scene.startControlPlane();
    await scene.startAgent(CLIENT);
    await until("the others are called", async () => (await ask(at(1).copy).catch(() => 0)) === 200);
    await until("it is refused", async () => (await ask(at(0).copy).catch(() => 0)) === 503);
  });

  test("is not cut off from anybody by a root of another CA, of whose certificates there is no list", async () => {
    scene.place.write("istio.yaml", meshRoots({ pem: new FakeCa("another").rootPem }));
    await until("the root is trusted", async () => (await scene.place.run("ca", "authorities")).stdout.includes("trusted beside the CA"));
    await until("the list is gone", async () => (await ask(at(0).copy)) === 200);
    assert.equal(await ask(at(1).copy), 200);
    scene.place.remove("istio.yaml");
    await until("the list is back", async () => (await ask(at(0).copy)) === 503);
    assert.equal(await ask(at(1).copy), 200);
  });
});
