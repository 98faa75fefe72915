/** An Envoy that calls servers: one whose certificate was revoked is refused with the next connection, and others are called as before. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { FakeCa } from "../fakes/fake-ca.ts";
import { until } from "../fakes/processes.ts";
import { CLIENT, SERVER, SERVER_IDENTITY } from "../feature/mesh.ts";
import { meshRoots } from "../feature/mesh-roots.ts";
import { Scene } from "../feature/scene.ts";
import { OpensslCa } from "../fixture/openssl-ca.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { ServedCopies } from "./served-copies.ts";

const skip = skipWithoutEnvoy();
const WEST_SERVER = "spiffe://west.example/ns/shop/sa/server";
const ALL_THE_SAME = /servers that prove themselves by it are called by Envoys all the same: /;

describe("an Envoy that calls a server whose certificate was revoked", { skip, timeout: 120_000 }, () => {
  const scene = new Scene({ after }, ["--proxy", "envoy"]);
  const copies = new ServedCopies(scene);

  before(async () => {
    if (skip !== false) return;
    await scene.start();
    for (const name of ["first", "second"]) await copies.add(name);
  });

  test("is told of it before the command ends, refuses it, and goes on to call the others", async () => {
    const { exit, stdout, stderr } = await copies.revoke("first");
    assert.equal(exit, 0, stderr);
    assert.match(stdout, /in force on 2 of 2 connected proxies after \d+ ms\n$/);
    assert.deepEqual([...(await copies.ask("first", "second")), await scene.ask("/open")], [503, 200, 200]);
  });

  test("calls servers of either authority while one takes over from the other, and none that is revoked", async () => {
    for (const step of ["prepare", "activate"]) assert.equal((await scene.place.run("ca", step)).exit, 0);
    assert.deepEqual(await copies.ask("first", "second"), [503, 200]);
    await copies.add("fresh");
    assert.equal((await copies.revoke("fresh")).exit, 0);
    assert.deepEqual([...(await copies.ask("fresh", "second")), await scene.ask("/open")], [503, 200, 200]);
  });

  test("refuses it after a restart of the control plane and of its own agent, too", async () => {
    await scene.serve.kill();
    await scene.agent(CLIENT).kill();
    await scene.startControlPlane();
    await scene.startAgent(CLIENT);
    await copies.until("second", 200);
    await copies.until("first", 503);
  });

  test("refuses it while servers of another trust domain are called too, of whose certificates there is no list", async () => {
    const west = new FakeCa("the CA of the west");
    scene.place.write("istio.yaml", meshRoots({ pem: west.rootPem, trustDomains: ["west.example"] }));
    await copies.add("west", { material: west.material(WEST_SERVER), identity: WEST_SERVER });
    assert.deepEqual([...(await copies.ask("first", "second", "west")), await scene.ask("/open")], [503, 200, 200, 200]);
    await copies.add("impostor", { material: west.material(SERVER_IDENTITY), identity: SERVER_IDENTITY }, 503);
    await copies.add("late");
    assert.doesNotMatch((await copies.revoke("late")).stdout, ALL_THE_SAME);
    assert.deepEqual([...(await copies.ask("late", "second", "west")), await scene.ask("/open")], [503, 200, 200, 200]);
  });

  test("is not cut off from anybody by a root of another CA of its own trust domain, and whoever revokes is told", async () => {
    scene.place.write("istio.yaml", meshRoots({ pem: new FakeCa("another").rootPem }));
    await until("the root is trusted", async () => (await scene.place.run("ca", "authorities")).stdout.includes("trusted beside the CA"));
    await copies.until("first", 200);
    await copies.add("beside");
    assert.match((await copies.revoke("beside")).stdout, ALL_THE_SAME);
    assert.deepEqual(await copies.ask("beside", "second"), [200, 200]);
    scene.place.remove("istio.yaml");
    await copies.until("first", 503);
    assert.deepEqual(await copies.ask("beside", "second"), [503, 200]);
  });
});

describe("an Envoy under an operator's CA whose issuer is replaced", { skip, timeout: 120_000 }, () => {
  const scene = new Scene({ after }, ["--proxy", "envoy"]);
  const copies = new ServedCopies(scene);

  test("calls servers of both issuers, and none whose certificate was revoked while its issuer was there", async () => {
    const folder = join(scene.place.folder, "cacerts");
    const ca = new OpensslCa(join(scene.place.folder, "openssl"));
    ca.make("root");
    for (const name of ["first", "second"]) ca.make(name, { parent: "root" });
    ca.plug(folder, "first", ["root"]);
    await scene.start(["--ca-folder", folder]);
    for (const name of ["good", "bad", "late"]) await copies.add(name);
    assert.equal((await copies.revoke("bad")).exit, 0);
    assert.deepEqual(await copies.ask("good", "bad"), [200, 503]);
    ca.plug(folder, "second", ["root"]);
    await scene.serve.line(/ the CA's new files are in force /);
    await copies.add("new");
    assert.deepEqual(await copies.ask("good", "bad", "new"), [200, 503, 200]);
    assert.doesNotMatch((await copies.revoke("new")).stdout, ALL_THE_SAME);
    assert.deepEqual(await copies.ask("good", "bad", "new"), [200, 503, 503]);
    // Its issuer cannot list it any more.
    assert.match((await copies.revoke("late")).stdout, ALL_THE_SAME);
    assert.deepEqual(await copies.ask("good", "bad", "late"), [200, 503, 200]);
    // Of a revoked identity nobody is called, list or not.
    const identity = await scene.place.run("ca", "revoke", "--identity", SERVER);
    assert.doesNotMatch(identity.stdout, ALL_THE_SAME);
    await copies.until("late", 503);
    assert.deepEqual(await copies.ask("good", "bad", "late", "new"), [503, 503, 503, 503]);
  });
});
