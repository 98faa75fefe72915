import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { constants, createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { request as tlsRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { call, call2, http2Session, peerOptions, readAll, tlsSocket } from "../../test/fakes/http-clients.ts";
import { InboundScene } from "../../test/fakes/inbound-scene.ts";
import { FRONTEND, INTRUDER } from "../../test/fakes/proxy-setup.ts";

const scene = new InboundScene({ upstreamConnections: 64 });
const { apply, agentOf, frontend } = scene;

describe("HTTP/1.1 and HTTP/2, on either side", () => {
  test("HTTP/2 from the client is HTTP/1.1 for the application", async () => {
    await apply();
    const session = await http2Session(scene.setup.port(), scene.setup.material(FRONTEND));
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
      const socket = await tlsSocket(scene.setup.port(), {
        ...peerOptions(scene.setup.material(FRONTEND)),
        ALPNProtocols: [...(offered ?? [])],
      });
      if (offered?.[0] !== "istio-h2") socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
      const received = offered?.[0] === "istio-h2" ? String(socket.alpnProtocol) : await readAll(socket);
      socket.destroy();
      assert.match(received, /^(HTTP\/1\.1 200 OK|h2$)/);
    });
  }
  test("a client that offers only what is not spoken here is refused in the handshake", async () => {
    await apply();
    await assert.rejects(tlsSocket(scene.setup.port(), { ...peerOptions(scene.setup.material(FRONTEND)), ALPNProtocols: ["foo"] }), {
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
    const session = await http2Session(scene.setup.port(), scene.setup.material(FRONTEND));
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
    scene.application.answer = (request, response) => {
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
      port: scene.setup.port(),
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
    scene.application.answer = (request, response) => {
      if (request.headers["content-length"] !== undefined) response.setHeader("content-length", request.headers["content-length"]);
      request.pipe(response);
    };
    await apply();
    const sized = await frontend("/", { method: "POST", body: big });
    const chunked = await frontend("/", { method: "POST", body: big, headers: { "transfer-encoding": "chunked" } });
    const session = await http2Session(scene.setup.port(), scene.setup.material(FRONTEND));
    const second = await call2(session, { ":path": "/", ":method": "POST" }, big);
    session.close();
    assert.deepEqual([sum(sized.body), sum(chunked.body), sum(second.body)], [sum(big), sum(big), sum(big)]);
    const { bytesReceived, bytesSent } = await scene.setup.keeper.next(() => true, 3);
    assert.deepEqual([bytesReceived, bytesSent], [5_000_000n, 5_000_000n]);
  });
  test("a slow reader holds the application back instead of filling the proxy's memory", async () => {
    let written = 0;
    let stuck = () => {};
    const paused = new Promise<void>((resolve) => {
      stuck = resolve;
    });
    scene.application.answer = (_request, response) => {
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
    const outgoing = tlsRequest({ host: "127.0.0.1", port: scene.setup.port(), agent: agentOf(FRONTEND) });
    outgoing.on("error", () => undefined);
    outgoing.end();
    await once(outgoing, "response");
    await paused;
    outgoing.destroy();
    assert.ok(written < 100_000_000, `${written} bytes were taken from the application`);
  });
  test("HEAD, 204 and 304 have no body, and the connection goes on", async () => {
    scene.application.answer = (request, response) => {
      response.writeHead(
        request.url === "/204" ? 204 : request.url === "/304" ? 304 : 200,
        request.url === "/head" ? { "content-length": 1000 } : {},
      );
      response.end();
    };
    await apply();
    const agent = agentOf(FRONTEND, 1);
    const head = await call({ port: scene.setup.port(), agent, path: "/head", method: "HEAD" });
    const none = await call({ port: scene.setup.port(), agent, path: "/204" });
    const same = await call({ port: scene.setup.port(), agent, path: "/304" });
    const after = await call({ port: scene.setup.port(), agent, path: "/200" });
    assert.deepEqual([head.status, head.headers["content-length"], none.status, same.status, after.status], [200, "1000", 204, 304, 200]);
    agent.destroy();
  });
  test("a client that waits for leave to send gets it when it is allowed, and no leave when it is not", async () => {
    await apply();
    const ask = async (identity: string) => {
      const outgoing = tlsRequest({
        host: "127.0.0.1",
        port: scene.setup.port(),
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
  test("a denied HTTP/2 request is over with its answer, though its body is not", async () => {
    await apply();
    const session = await http2Session(scene.setup.port(), scene.setup.material(INTRUDER));
    const stream = session.request({ ":path": "/", ":method": "POST", ":authority": "a" }, { endStream: false });
    stream.on("error", () => undefined);
    const closed = once(stream.resume(), "close");
    stream.write("some");
    const [headers] = await once(stream, "response");
    await closed;
    assert.deepEqual([headers[":status"], stream.rstCode], [403, constants.NGHTTP2_NO_ERROR]);
    session.close();
  });
  test("an answer that comes before the body has ended reaches the client", async () => {
    scene.application.answer = (_request, response) => void response.writeHead(413).end("too large");
    await apply();
    const outgoing = tlsRequest({
      host: "127.0.0.1",
      port: scene.setup.port(),
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
