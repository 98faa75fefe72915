import assert from "node:assert/strict";
import { once } from "node:events";
import { request as plainRequest } from "node:http";
import { describe, test } from "node:test";
import { call, call2, http2Session, peerOptions, plainSocket, readAll, tlsSocket } from "../../test/fakes/http-clients.ts";
import { InboundScene } from "../../test/fakes/inbound-scene.ts";
import { BACKEND, FRONTEND, fromPrincipal, INTRUDER, layers, pathPrefix, rule } from "../../test/fakes/proxy-setup.ts";

const scene = new InboundScene({ upstreamConnections: 64 });
const { apply, agentOf, frontend } = scene;

describe("who may do what", () => {
  test("an allowed caller reaches the application, which learns who it is", async () => {
    await apply();
    const answer = await frontend("/photos?size=1");
    const { url, headers } = JSON.parse(answer.body.toString());
    assert.deepEqual([answer.status, url], [200, "/photos?size=1"]);
    assert.match(headers["x-forwarded-client-cert"], new RegExp(`^By=${BACKEND};Hash=[0-9a-f]{64};Subject="";URI=${FRONTEND}$`));
    const record = await scene.setup.keeper.next();
    assert.deepEqual([record.caller, record.effect, record.origin, record.status], [FRONTEND, "allow", "photo-ns/frontend[0]", 200]);
    assert.deepEqual(
      [record.method, record.path, record.service, record.port],
      ["GET", "/photos", "photo-ns/photo-backend", scene.setup.port()],
    );
  });
  test("another caller gets Envoy's 403, and nothing reaches the application", async () => {
    await apply();
    const { status, body } = await call({ port: scene.setup.port(), agent: agentOf(INTRUDER) });
    assert.deepEqual([status, body.toString(), scene.application.seen], [403, "RBAC: access denied", []]);
    const record = await scene.setup.keeper.next();
    assert.deepEqual([record.caller, record.effect, record.origin, record.status], [INTRUDER, "deny", "default", 403]);
  });
  test("a DENY rule is the reason that is told", async () => {
    await apply({}, { http: layers({ deny: [rule("no-admin", pathPrefix("/admin"))] }) });
    const statuses = [
      (await frontend("/admin/x")).status,
      (await frontend("/x/../admin")).status,
      (await frontend("/%61dmin")).status,
      (await frontend("/photos")).status,
    ];
    assert.deepEqual(statuses, [403, 403, 403, 200]);
    assert.equal((await scene.setup.keeper.next((record) => record.effect === "deny", 3)).origin, "photo-ns/no-admin[0]");
  });
  test("the application gets the path that was decided on", async () => {
    await apply();
    await frontend("/a/./b/../c%2Fd?x=/../");
    assert.deepEqual(scene.application.seen, ["GET /a/c%2Fd?x=/../"]);
  });
  test("a gRPC client is told in its own words", async () => {
    await apply();
    const session = await http2Session(scene.setup.port(), scene.setup.material(INTRUDER));
    const { status, headers } = await call2(session, { ":path": "/a.B/C", ":method": "POST", "content-type": "application/grpc" });
    session.close();
    assert.deepEqual([status, headers["grpc-status"], headers["grpc-message"]], [200, "7", "RBAC:%20access%20denied"]);
  });
  test("an AUDIT rule that matched is recorded beside the decision", async () => {
    await apply({}, { http: layers({ audit: [rule("watch")] }) });
    await frontend();
    const { effect, origin, audit } = await scene.setup.keeper.next();
    assert.deepEqual([effect, origin, audit], ["allow", "no-policy", ["photo-ns/watch[0]"]]);
  });
});

describe("a new policy", () => {
  test("holds for the next request of a connection that is already open, which stays open", async () => {
    await apply({}, { http: layers() });
    const agent = agentOf(FRONTEND, 1);
    const ask = () => call({ port: scene.setup.port(), agent });
    const first = await ask();
    const [socket] = Object.values(agent.freeSockets).flat();
    await apply({ port: 0 }, { http: layers({ deny: [rule("closed")] }) });
    const second = await ask();
    await apply({}, { http: layers() });
    const third = await ask();
    assert.deepEqual([first.status, second.status, third.status], [200, 403, 200]);
    assert.equal(Object.values(agent.freeSockets).flat()[0], socket);
    agent.destroy();
  });
  test("that makes the port STRICT ends plaintext connections that have not said yet which HTTP they speak", async () => {
    await apply({ mtls: "PERMISSIVE" }, { http: layers() });
    const silent = await plainSocket(scene.setup.port());
    silent.write("P");
    // What comes later has been served, so that this has been read.
    assert.equal((await call({ port: scene.setup.port() })).status, 200);
    const ended = once(silent.resume(), "close");
    await apply({ mtls: "STRICT" }, { http: layers() });
    await ended;
  });
  test("that makes the port STRICT ends plaintext connections, and no other", async () => {
    await apply({ mtls: "PERMISSIVE" }, { http: layers() });
    const plain = await new Promise<import("node:net").Socket>((resolve) => {
      const outgoing = plainRequest({ host: "127.0.0.1", port: scene.setup.port(), headers: { connection: "keep-alive" } }, (response) =>
        resolve(response.resume().socket),
      );
      outgoing.end();
    });
    const agent = agentOf(FRONTEND, 1);
    await call({ port: scene.setup.port(), agent });
    const ended = once(plain, "close");
    await apply({ mtls: "STRICT" }, { http: layers() });
    await ended;
    const [socket] = Object.values(agent.freeSockets).flat();
    assert.equal((await call({ port: scene.setup.port(), agent })).status, 200);
    assert.equal(Object.values(agent.freeSockets).flat()[0], socket);
    agent.destroy();
  });
});

describe("modes of a port", () => {
  const plain = () => call({ port: scene.setup.port() });

  test("STRICT takes mutual TLS only", async () => {
    await apply({}, { http: layers() });
    assert.equal((await frontend()).status, 200);
    await assert.rejects(plain());
    const { effect, detail, caller, sourceIp } = await scene.setup.keeper.next((record) => record.effect === "refused");
    assert.deepEqual([effect, detail, caller, sourceIp], ["refused", "plaintext where mutual TLS is required", "", "127.0.0.1"]);
  });
  test("PERMISSIVE takes both on one port, and plaintext has no identity", async () => {
    await apply(
      { mtls: "PERMISSIVE" },
      { http: layers({ allow: [rule("frontend", fromPrincipal(FRONTEND)), rule("open", pathPrefix("/open"))] }) },
    );
    assert.deepEqual([(await frontend()).status, (await plain()).status], [200, 403]);
    const open = await call({ port: scene.setup.port(), path: "/open", headers: { "x-forwarded-client-cert": `URI=${FRONTEND}` } });
    const { headers } = JSON.parse(open.body.toString());
    assert.deepEqual([open.status, headers["x-forwarded-client-cert"], headers["x-forwarded-proto"]], [200, undefined, "http"]);
  });
  test("PERMISSIVE refuses TLS that does not offer the mesh's protocols, which an HTTP port cannot pass on", async () => {
    await apply({ mtls: "PERMISSIVE" }, { http: layers() });
    const options = { ...peerOptions(scene.setup.material(FRONTEND)), ALPNProtocols: ["http/1.1"] };
    await assert.rejects(tlsSocket(scene.setup.port(), options));
    const { effect, detail, caller } = await scene.setup.keeper.next((record) => record.effect === "refused");
    assert.deepEqual([effect, detail, caller], ["refused", "TLS that is not the mesh's: an HTTP port cannot read it", ""]);
  });
  test("DISABLE takes plaintext only", async () => {
    await apply({ mtls: "DISABLE" }, { http: layers() });
    assert.equal((await plain()).status, 200);
    await assert.rejects(frontend());
  });
  test("PERMISSIVE takes HTTP/2 by its preface, however slowly it comes", async () => {
    await apply({ mtls: "PERMISSIVE" }, { http: layers() });
    const session = await http2Session(scene.setup.port(), undefined);
    assert.equal((await call2(session, { ":path": "/" })).status, 200);
    session.close();
    const socket = await tlsSocket(scene.setup.port(), peerOptions(scene.setup.material(FRONTEND)));
    for (const piece of ["P", "R", "I /x HTTP/1.1\r\nHost: a\r\n\r\n"]) {
      socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.match(await readAll(socket), /^HTTP\/1\.1 400 /);
  });
});
