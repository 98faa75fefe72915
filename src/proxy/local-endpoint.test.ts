import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { constants } from "node:http2";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { echo, startApplication } from "../../test/fakes/http-application.ts";
import { call, call2, http2Session, peerOptions, readAll, tlsSocket } from "../../test/fakes/http-clients.ts";
import { InboundScene } from "../../test/fakes/inbound-scene.ts";
import { FRONTEND, INTRUDER, layers, rule } from "../../test/fakes/proxy-setup.ts";

const scene = new InboundScene({ upstreamConnections: 64 });
const { apply, agentOf, frontend } = scene;

describe("the application", () => {
  test("is reached over a few connections that are kept", async () => {
    await apply();
    const agent = agentOf(FRONTEND, 1);
    for (let index = 0; index < 20; index++) await call({ port: scene.setup.port(), agent });
    assert.equal(scene.application.connections(), 1);
    agent.destroy();
  });
  test("on a Unix socket is reached as well", async () => {
    const folder = mkdtempSync(join(tmpdir(), "gp-"));
    const unix = await startApplication(join(folder, "app.sock"));
    await apply({ endpoint: { kind: "unix", path: join(folder, "app.sock") } });
    const { status } = await frontend("/unix");
    assert.deepEqual([status, unix.seen], [200, ["GET /unix"]]);
    await unix.close();
    rmSync(folder, { recursive: true });
  });
  test("that is down gives 503, and its record says why", async () => {
    await apply();
    await scene.application.close();
    const { status, body } = await frontend();
    assert.equal(status, 503);
    assert.match(body.toString(), /^upstream connect error or disconnect\/reset before headers/);
    const record = await scene.setup.keeper.next();
    assert.deepEqual([record.effect, record.status], ["allow", 503]);
    assert.match(record.detail ?? "", /^the application gave no whole response: connection to 127\.0\.0\.1:\d+ failed$/);
  });
  test("that closes a kept connection is asked once more, where doing so twice does no harm", async () => {
    let requests = 0;
    scene.application.answer = (request, response) => {
      requests += 1;
      // The second request meets a connection that is closed the moment it arrives.
      if (requests % 2 === 0) request.socket.destroy();
      else echo(request, response);
    };
    await apply();
    const agent = agentOf(FRONTEND, 1);
    const get = () => call({ port: scene.setup.port(), agent });
    const post = () => call({ port: scene.setup.port(), agent, method: "POST", body: "x" });
    const empty = () => call({ port: scene.setup.port(), agent, method: "POST", headers: { "content-length": 0 } });
    const statuses = [(await get()).status, (await get()).status, (await post()).status, (await empty()).status, (await empty()).status];
    assert.deepEqual([statuses, requests], [[200, 200, 503, 200, 503], 6]);
    agent.destroy();
  });
  test("that breaks off in the middle of a response breaks off the client's as well", async () => {
    scene.application.answer = (request, response) => {
      response.writeHead(200, { "content-length": 1000 });
      response.write("some", () => request.socket.destroy());
    };
    await apply();
    await assert.rejects(frontend());
    const session = await http2Session(scene.setup.port(), scene.setup.material(FRONTEND));
    await assert.rejects(call2(session, { ":path": "/" }));
    session.close();
    const { status, detail } = await scene.setup.keeper.next(() => true, 2);
    assert.equal(status, 200);
    assert.match(detail ?? "", /gave no whole response/);
  });
  test("hears of a client that is gone", async () => {
    const gone = Promise.withResolvers<void>();
    scene.application.answer = (request, response) => {
      response.writeHead(200);
      response.write("begin");
      request.socket.once("close", () => gone.resolve());
    };
    await apply();
    const session = await http2Session(scene.setup.port(), scene.setup.material(FRONTEND));
    const stream = session.request({ ":path": "/", ":authority": "a" });
    await once(stream, "data");
    stream.close(constants.NGHTTP2_CANCEL);
    await gone.promise;
    session.close();
    assert.equal((await scene.setup.keeper.next()).status, 200);
  });
  test("that sends more than its answer loses the connection, so that no client gets another's answer", async () => {
    const sockets: unknown[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => undefined);
      const answer = (body: string) => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
      socket.once("data", () => socket.write(answer("right") + answer("wrong")));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    await apply({ endpoint: { kind: "tcp", host: "127.0.0.1", port: (server.address() as AddressInfo).port } });
    const outcomes = [await frontend(), await frontend()].map(({ status, body }) => `${status} ${body}`);
    assert.deepEqual([outcomes, sockets.length], [["200 right", "200 right"], 2]);
    server.close();
  });
  test("that sends something unreadable gives 503 and is not asked again on that connection", async () => {
    const server = createServer((socket) => {
      socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"));
      socket.on("error", () => undefined);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    await apply({ endpoint: { kind: "tcp", host: "127.0.0.1", port: (server.address() as AddressInfo).port } });
    assert.equal((await frontend()).status, 503);
    server.close();
  });
});

describe("WebSocket", () => {
  const handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

  test("is carried both ways once it was allowed and the application agreed, and ends with a policy that denies it", async () => {
    scene.application.upgrade = (_request, socket, head) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\nhi ");
      socket.write(head);
      socket.pipe(socket);
    };
    await apply();
    const socket = await tlsSocket(scene.setup.port(), peerOptions(scene.setup.material(FRONTEND)));
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.write(`${handshake}early`);
    while (!text.includes("early")) await once(socket, "data");
    socket.write(" late");
    while (!text.includes("late")) await once(socket, "data");
    assert.match(text, /^HTTP\/1\.1 101 [\s\S]*sec-websocket-accept: y\r\n\r\nhi early late$/);
    const closed = once(socket, "close");
    await apply({}, { http: layers({ deny: [rule("closed")] }) });
    await closed;
    const { status, detail, bytesReceived } = await scene.setup.keeper.next();
    assert.deepEqual([status, detail, bytesReceived], [101, "cut by a new policy: photo-ns/closed[0]", 10n]);
  });
  test("that the application declines is an ordinary answer, and nothing more is carried (CVE-2024-23326)", async () => {
    let received = "";
    scene.application.upgrade = (_request, socket, head) => {
      received += head.toString();
      socket.on("data", (chunk: Buffer) => {
        received += chunk.toString();
      });
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno");
    };
    await apply();
    const socket = await tlsSocket(scene.setup.port(), peerOptions(scene.setup.material(FRONTEND)));
    socket.write(`${handshake}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.match(await readAll(socket), /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nno$/);
    assert.deepEqual([received, scene.application.seen], ["", []]);
  });
  test("that is denied gets 403", async () => {
    await apply();
    const socket = await tlsSocket(scene.setup.port(), peerOptions(scene.setup.material(INTRUDER)));
    socket.write(handshake);
    assert.match(await readAll(socket), /^HTTP\/1\.1 403 Forbidden\r\n/);
    assert.deepEqual(scene.application.seen, []);
  });
});
