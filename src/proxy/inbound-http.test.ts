import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { request as plainRequest } from "node:http";
import { constants, createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { request as tlsRequest } from "node:https";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { type Application, echo, startApplication } from "../../test/fakes/http-application.ts";
import { call, call2, http2Session, peerAgent, peerOptions, readAll, tlsSocket } from "../../test/fakes/http-clients.ts";
import {
  BACKEND,
  FRONTEND,
  fromPrincipal,
  INTRUDER,
  inboundListener,
  layers,
  makeProxy,
  type ProxyUnderTest,
  pathPrefix,
  rule,
  workloadPolicy,
} from "../../test/fakes/proxy-setup.ts";
import type { InboundListener, WorkloadPolicy } from "../compile/workload-policy.ts";

const ONLY_FRONTEND = layers({ allow: [rule("frontend", fromPrincipal(FRONTEND))] });

let application: Application;
let setup: ProxyUnderTest;

beforeEach(async () => {
  application = await startApplication();
  setup = makeProxy({ limits: { upstreamConnections: 64 } });
});
afterEach(async () => {
  await setup.proxy.close(0);
  await application.close();
});

function apply(listener: Partial<InboundListener> = {}, policy: Partial<WorkloadPolicy> = { http: ONLY_FRONTEND }): Promise<void> {
  return setup.proxy.apply(workloadPolicy({ inbound: [inboundListener(application.port, listener)], ...policy }));
}

const agentOf = (identity: string, maxSockets?: number) => peerAgent(setup.material(identity), maxSockets);
const frontend = (path = "/", options = {}) => call({ port: setup.port(), agent: agentOf(FRONTEND), path, ...options });

describe("who may do what", () => {
  test("an allowed caller reaches the application, which learns who it is", async () => {
    await apply();
    const answer = await frontend("/photos?size=1");
    const { url, headers } = JSON.parse(answer.body.toString());
    assert.deepEqual([answer.status, url], [200, "/photos?size=1"]);
    assert.match(headers["x-forwarded-client-cert"], new RegExp(`^By=${BACKEND};Hash=[0-9a-f]{64};Subject="";URI=${FRONTEND}$`));
    const record = await setup.keeper.next();
    assert.deepEqual([record.caller, record.effect, record.origin, record.status], [FRONTEND, "allow", "photo-ns/frontend[0]", 200]);
    assert.deepEqual([record.method, record.path, record.service, record.port], ["GET", "/photos", "photo-ns/photo-backend", setup.port()]);
  });
  test("another caller gets Envoy's 403, and nothing reaches the application", async () => {
    await apply();
    const { status, body } = await call({ port: setup.port(), agent: agentOf(INTRUDER) });
    assert.deepEqual([status, body.toString(), application.seen], [403, "RBAC: access denied", []]);
    const record = await setup.keeper.next();
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
    assert.equal((await setup.keeper.next((record) => record.effect === "deny", 3)).origin, "photo-ns/no-admin[0]");
  });
  test("the application gets the path that was decided on", async () => {
    await apply();
    await frontend("/a/./b/../c%2Fd?x=/../");
    assert.deepEqual(application.seen, ["GET /a/c%2Fd?x=/../"]);
  });
  test("a gRPC client is told in its own words", async () => {
    await apply();
    const session = await http2Session(setup.port(), setup.material(INTRUDER));
    const { status, headers } = await call2(session, { ":path": "/a.B/C", ":method": "POST", "content-type": "application/grpc" });
    session.close();
    assert.deepEqual([status, headers["grpc-status"], headers["grpc-message"]], [200, "7", "RBAC:%20access%20denied"]);
  });
  test("an AUDIT rule that matched is recorded beside the decision", async () => {
    await apply({}, { http: layers({ audit: [rule("watch")] }) });
    await frontend();
    const { effect, origin, audit } = await setup.keeper.next();
    assert.deepEqual([effect, origin, audit], ["allow", "no-policy", ["photo-ns/watch[0]"]]);
  });
});

describe("a new policy", () => {
  test("holds for the next request of a connection that is already open, which stays open", async () => {
    await apply({}, { http: layers() });
    const agent = agentOf(FRONTEND, 1);
    const ask = () => call({ port: setup.port(), agent });
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
  test("that makes the port STRICT ends plaintext connections, and no other", async () => {
    await apply({ mtls: "PERMISSIVE" }, { http: layers() });
    const plain = await new Promise<import("node:net").Socket>((resolve) => {
      const outgoing = plainRequest({ host: "127.0.0.1", port: setup.port(), headers: { connection: "keep-alive" } }, (response) =>
        resolve(response.resume().socket),
      );
      outgoing.end();
    });
    const agent = agentOf(FRONTEND, 1);
    await call({ port: setup.port(), agent });
    const ended = once(plain, "close");
    await apply({ mtls: "STRICT" }, { http: layers() });
    await ended;
    const [socket] = Object.values(agent.freeSockets).flat();
    assert.equal((await call({ port: setup.port(), agent })).status, 200);
    assert.equal(Object.values(agent.freeSockets).flat()[0], socket);
    agent.destroy();
  });
});

describe("modes of a port", () => {
  const plain = () => call({ port: setup.port() });

  test("STRICT takes mutual TLS only", async () => {
    await apply({}, { http: layers() });
    assert.equal((await frontend()).status, 200);
    await assert.rejects(plain());
    const { effect, detail, caller, sourceIp } = await setup.keeper.next((record) => record.effect === "refused");
    assert.deepEqual([effect, detail, caller, sourceIp], ["refused", "plaintext where mutual TLS is required", "", "127.0.0.1"]);
  });
  test("PERMISSIVE takes both on one port, and plaintext has no identity", async () => {
    await apply(
      { mtls: "PERMISSIVE" },
      { http: layers({ allow: [rule("frontend", fromPrincipal(FRONTEND)), rule("open", pathPrefix("/open"))] }) },
    );
    assert.deepEqual([(await frontend()).status, (await plain()).status], [200, 403]);
    const open = await call({ port: setup.port(), path: "/open", headers: { "x-forwarded-client-cert": `URI=${FRONTEND}` } });
    const { headers } = JSON.parse(open.body.toString());
    assert.deepEqual([open.status, headers["x-forwarded-client-cert"], headers["x-forwarded-proto"]], [200, undefined, "http"]);
  });
  test("DISABLE takes plaintext only", async () => {
    await apply({ mtls: "DISABLE" }, { http: layers() });
    assert.equal((await plain()).status, 200);
    await assert.rejects(frontend());
  });
  test("PERMISSIVE takes HTTP/2 by its preface, however slowly it comes", async () => {
    await apply({ mtls: "PERMISSIVE" }, { http: layers() });
    const session = await http2Session(setup.port(), undefined);
    assert.equal((await call2(session, { ":path": "/" })).status, 200);
    session.close();
    const socket = await tlsSocket(setup.port(), peerOptions(setup.material(FRONTEND)));
    for (const piece of ["P", "R", "I /x HTTP/1.1\r\nHost: a\r\n\r\n"]) {
      socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.match(await readAll(socket), /^HTTP\/1\.1 400 /);
  });
});

describe("HTTP/1.1 and HTTP/2, on either side", () => {
  test("HTTP/2 from the client is HTTP/1.1 for the application", async () => {
    await apply();
    const session = await http2Session(setup.port(), setup.material(FRONTEND));
    const answers = await Promise.all(
      ["/a", "/b", "/c"].map((path) => call2(session, { ":path": path, ":method": "POST" }, Buffer.from(path))),
    );
    session.close();
    const bodies = answers.map(({ body }) => JSON.parse(body.toString()));
    assert.deepEqual(
      bodies.map(({ url, body, headers }) => [url, body, headers.host]),
      [
        ["/a", "/a", "backend"],
        ["/b", "/b", "backend"],
        ["/c", "/c", "backend"],
      ],
    );
  });
  for (const offered of [["istio-h2", "istio", "h2"], ["istio-http/1.1", "istio", "http/1.1"], ["istio"], undefined] as const) {
    test(`a client that offers ${offered?.join(", ") ?? "nothing"} is served`, async () => {
      await apply();
      const socket = await tlsSocket(setup.port(), {
        ...peerOptions(setup.material(FRONTEND)),
        ...(offered === undefined ? {} : { ALPNProtocols: [...offered] }),
      });
      if (offered?.[0] !== "istio-h2") socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      const received = offered?.[0] === "istio-h2" ? String(socket.alpnProtocol) : await readAll(socket);
      socket.destroy();
      assert.match(received, /^(HTTP\/1\.1 200 OK|h2$)/);
    });
  }
  test("a client that offers only what is not spoken here is refused in the handshake", async () => {
    await apply();
    await assert.rejects(tlsSocket(setup.port(), { ...peerOptions(setup.material(FRONTEND)), ALPNProtocols: ["foo"] }), {
      code: "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
    });
  });
  test("trailers go both ways between HTTP/2 and an HTTP/2 application, as gRPC needs", async () => {
    const server = createHttp2Server();
    let requestTrailer: string | string[] | undefined;
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.on("trailers", (fields) => {
        requestTrailer = fields["x-checksum"];
      });
      stream.respond({ ":status": 200, "content-type": "application/grpc", "x-te": headers.te }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.pipe(stream);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    await apply({ protocol: "http2", endpoint: { kind: "tcp", host: "127.0.0.1", port: (server.address() as AddressInfo).port } });
    const session = await http2Session(setup.port(), setup.material(FRONTEND));
    const answer = await call2(session, { ":path": "/a.B/C", ":method": "POST", te: "trailers" }, Buffer.from("ping"), {
      "x-checksum": "1",
    });
    assert.deepEqual(
      [answer.status, answer.body.toString(), answer.trailers["grpc-status"], answer.headers["x-te"]],
      [200, "ping", "0", "trailers"],
    );
    assert.equal(requestTrailer, "1");
    session.close();
    server.close();
  });
  test("trailers of HTTP/1.1 pass in both directions", async () => {
    application.answer = (request, response) => {
      request.resume();
      request.on("end", () => {
        response.writeHead(200, { trailer: "x-sum" });
        response.write("body");
        response.addTrailers({ "x-sum": `got ${request.trailers["x-sent"]}` });
        response.end();
      });
    };
    await apply();
    const outgoing = tlsRequest({
      host: "127.0.0.1",
      port: setup.port(),
      agent: agentOf(FRONTEND),
      method: "POST",
      headers: { trailer: "x-sent" },
    });
    outgoing.write("body");
    outgoing.addTrailers({ "x-sent": "yes" });
    outgoing.end();
    const [response] = await once(outgoing, "response");
    response.resume();
    await once(response, "end");
    assert.equal(response.trailers["x-sum"], "got yes");
  });
});

describe("bodies", () => {
  const sum = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
  const big = randomBytes(5_000_000);

  test("large ones arrive whole in both directions, over HTTP/1.1 and HTTP/2, sized and chunked", async () => {
    application.answer = (request, response) => {
      if (request.headers["content-length"] !== undefined) response.setHeader("content-length", request.headers["content-length"]);
      request.pipe(response);
    };
    await apply();
    const sized = await frontend("/", { method: "POST", body: big });
    const chunked = await frontend("/", { method: "POST", body: big, headers: { "transfer-encoding": "chunked" } });
    const session = await http2Session(setup.port(), setup.material(FRONTEND));
    const second = await call2(session, { ":path": "/", ":method": "POST" }, big);
    session.close();
    assert.deepEqual([sum(sized.body), sum(chunked.body), sum(second.body)], [sum(big), sum(big), sum(big)]);
    const { bytesReceived, bytesSent } = await setup.keeper.next(() => true, 3);
    assert.deepEqual([bytesReceived, bytesSent], [5_000_000n, 5_000_000n]);
  });
  test("a slow reader holds the application back instead of filling the proxy's memory", async () => {
    let written = 0;
    let stuck = () => {};
    const paused = new Promise<void>((resolve) => {
      stuck = resolve;
    });
    application.answer = (_request, response) => {
      response.writeHead(200);
      const more = () => {
        while (written < 400_000_000) {
          written += 1_000_000;
          if (!response.write(Buffer.alloc(1_000_000))) return;
        }
      };
      let timer = setTimeout(stuck, 500);
      response.on("drain", () => {
        clearTimeout(timer);
        timer = setTimeout(stuck, 500);
        more();
      });
      more();
    };
    await apply();
    const outgoing = tlsRequest({ host: "127.0.0.1", port: setup.port(), agent: agentOf(FRONTEND) });
    outgoing.on("error", () => undefined);
    outgoing.end();
    await once(outgoing, "response");
    await paused;
    outgoing.destroy();
    assert.ok(written < 100_000_000, `${written} bytes were taken from the application`);
  });
  test("HEAD, 204 and 304 have no body, and the connection goes on", async () => {
    application.answer = (request, response) => {
      response.writeHead(
        request.url === "/204" ? 204 : request.url === "/304" ? 304 : 200,
        request.url === "/head" ? { "content-length": 1000 } : {},
      );
      response.end();
    };
    await apply();
    const agent = agentOf(FRONTEND, 1);
    const head = await call({ port: setup.port(), agent, path: "/head", method: "HEAD" });
    const none = await call({ port: setup.port(), agent, path: "/204" });
    const same = await call({ port: setup.port(), agent, path: "/304" });
    const after = await call({ port: setup.port(), agent, path: "/200" });
    assert.deepEqual([head.status, head.headers["content-length"], none.status, same.status, after.status], [200, "1000", 204, 304, 200]);
    agent.destroy();
  });
  test("a client that waits for leave to send gets it when it is allowed, and no leave when it is not", async () => {
    await apply();
    const ask = async (identity: string) => {
      const outgoing = tlsRequest({
        host: "127.0.0.1",
        port: setup.port(),
        agent: agentOf(identity),
        method: "POST",
        headers: { expect: "100-continue", "content-length": 4 },
      });
      let told = false;
      outgoing.on("continue", () => {
        told = true;
        outgoing.end("body");
      });
      outgoing.on("error", () => undefined);
      outgoing.flushHeaders();
      const [response] = await once(outgoing, "response");
      response.resume();
      outgoing.destroy();
      return [told, response.statusCode];
    };
    assert.deepEqual(
      [await ask(FRONTEND), await ask(INTRUDER)],
      [
        [true, 200],
        [false, 403],
      ],
    );
  });
  test("an answer that comes before the body has ended reaches the client", async () => {
    application.answer = (_request, response) => void response.writeHead(413).end("too large");
    await apply();
    const outgoing = tlsRequest({
      host: "127.0.0.1",
      port: setup.port(),
      agent: agentOf(FRONTEND),
      method: "POST",
      headers: { "content-length": 1_000_000 },
    });
    outgoing.on("error", () => undefined);
    outgoing.write(Buffer.alloc(1000));
    const [response] = await once(outgoing, "response");
    outgoing.destroy();
    assert.equal(response.statusCode, 413);
  });
});

describe("the application", () => {
  test("is reached over a few connections that are kept", async () => {
    await apply();
    const agent = agentOf(FRONTEND, 1);
    for (let index = 0; index < 20; index++) await call({ port: setup.port(), agent });
    assert.equal(application.connections(), 1);
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
    await application.close();
    const { status, body } = await frontend();
    assert.equal(status, 503);
    assert.match(body.toString(), /^upstream connect error or disconnect\/reset before headers/);
    const record = await setup.keeper.next();
    assert.deepEqual([record.effect, record.status], ["allow", 503]);
    assert.match(record.detail ?? "", /^the application gave no whole response: connection to 127\.0\.0\.1:\d+ failed$/);
  });
  test("that closes a kept connection is asked once more, where doing so twice does no harm", async () => {
    let requests = 0;
    application.answer = (request, response) => {
      requests += 1;
      // The second request meets a connection that is closed the moment it arrives.
      if (requests % 2 === 0) request.socket.destroy();
      else echo(request, response);
    };
    await apply();
    const agent = agentOf(FRONTEND, 1);
    const get = () => call({ port: setup.port(), agent });
    const post = () => call({ port: setup.port(), agent, method: "POST", body: "x" });
    const statuses = [(await get()).status, (await get()).status, (await post()).status];
    assert.deepEqual([statuses, requests], [[200, 200, 503], 4]);
    agent.destroy();
  });
  test("that breaks off in the middle of a response breaks off the client's as well", async () => {
    application.answer = (request, response) => {
      response.writeHead(200, { "content-length": 1000 });
      response.write("some", () => request.socket.destroy());
    };
    await apply();
    await assert.rejects(frontend());
    const session = await http2Session(setup.port(), setup.material(FRONTEND));
    await assert.rejects(call2(session, { ":path": "/" }));
    session.close();
    const { status, detail } = await setup.keeper.next(() => true, 2);
    assert.equal(status, 200);
    assert.match(detail ?? "", /gave no whole response/);
  });
  test("hears of a client that is gone", async () => {
    const gone = Promise.withResolvers<void>();
    application.answer = (request, response) => {
      response.writeHead(200);
      response.write("begin");
      request.socket.once("close", () => gone.resolve());
    };
    await apply();
    const session = await http2Session(setup.port(), setup.material(FRONTEND));
    const stream = session.request({ ":path": "/", ":authority": "a" });
    await once(stream, "data");
    stream.close(constants.NGHTTP2_CANCEL);
    await gone.promise;
    session.close();
    assert.equal((await setup.keeper.next()).status, 200);
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
    application.upgrade = (_request, socket, head) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\nhi ");
      socket.write(head);
      socket.pipe(socket);
    };
    await apply();
    const socket = await tlsSocket(setup.port(), peerOptions(setup.material(FRONTEND)));
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
    const { status, detail, bytesReceived } = await setup.keeper.next();
    assert.deepEqual([status, detail, bytesReceived], [101, "cut by a new policy: photo-ns/closed[0]", 10n]);
  });
  test("that the application declines is an ordinary answer, and nothing more is carried (CVE-2024-23326)", async () => {
    let received = "";
    application.upgrade = (_request, socket, head) => {
      received += head.toString();
      socket.on("data", (chunk: Buffer) => {
        received += chunk.toString();
      });
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno");
    };
    await apply();
    const socket = await tlsSocket(setup.port(), peerOptions(setup.material(FRONTEND)));
    socket.write(`${handshake}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.match(await readAll(socket), /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nno$/);
    assert.deepEqual([received, application.seen], ["", []]);
  });
  test("that is denied gets 403", async () => {
    await apply();
    const socket = await tlsSocket(setup.port(), peerOptions(setup.material(INTRUDER)));
    socket.write(handshake);
    assert.match(await readAll(socket), /^HTTP\/1\.1 403 Forbidden\r\n/);
    assert.deepEqual(application.seen, []);
  });
});
