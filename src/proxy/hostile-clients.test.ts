/** What a client does that the protocol allows, or nearly, and that no well-meaning one does: it costs the client, and nobody else. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect } from "node:net";
import { describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { call, exchangeRaw, peerOptions, plainSocket } from "../../test/fakes/http-clients.ts";
import { InboundScene } from "../../test/fakes/inbound-scene.ts";
import { FRONTEND, inboundListener, layers, pathPrefix, rule, workloadPolicy } from "../../test/fakes/proxy-setup.ts";
import type { CompiledRule } from "../compile/workload-policy.ts";
import { parseIpBlock } from "../policy/ip-block.ts";

const scene = new InboundScene();
const HOST = "Host: backend\r\n";
const WEB_SOCKET = `GET /ws HTTP/1.1\r\n${HOST}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n`;

const plain = async (bytes: string) => exchangeRaw(await plainSocket(scene.setup.port()), bytes);

describe("requests that do not wait for the answer before them", () => {
  for (const [what, second] of [
    ["an upgrade", WEB_SOCKET],
    ["CONNECT", `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`],
  ] as const) {
    test(`${what}, which has no answer to wait for, ends its connection and not the proxy`, async () => {
      await scene.apply({ mtls: "PERMISSIVE" }, {});
      scene.application.answer = () => undefined;
      assert.equal(await plain(`GET /slow HTTP/1.1\r\n${HOST}\r\n${second}`), "");
      const { detail } = await scene.setup.keeper.next(({ effect }) => effect === "refused");
      assert.match(detail ?? "", / before an answer$/);
      scene.application.answer = (_request, response) => response.end("still here");
      assert.equal((await call({ port: scene.setup.port() })).body.toString(), "still here");
    });
  }

  test("reach the application one after the other, whatever they are", async () => {
    await scene.apply({ mtls: "PERMISSIVE" }, {});
    let underWay = 0;
    let most = 0;
    scene.application.answer = (_request, response) => {
      most = Math.max(most, ++underWay);
      setTimeout(() => {
        underWay -= 1;
        response.end();
      }, 2);
    };
    const requests = Array.from({ length: 50 }, (_, index) => `POST /${index} HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`);
    const answer = await plain(`${requests.join("")}GET /last HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
    assert.equal(answer.split("HTTP/1.1 200").length - 1, 51);
    assert.equal(most, 1);
    assert.deepEqual(scene.application.seen, [...requests.map((_, index) => `POST /${index}`), "GET /last"]);
  });

  test("are not kept in any number", async () => {
    await scene.apply({ mtls: "PERMISSIVE" }, {});
    scene.application.answer = () => undefined;
    await plain(`GET / HTTP/1.1\r\n${HOST}\r\n`.repeat(1_000));
    const { detail } = await scene.setup.keeper.next(({ effect }) => effect === "refused");
    assert.match(detail ?? "", /more than 100 requests before an answer$/);
    assert.ok(scene.application.seen.length <= 1, String(scene.application.seen.length));
  });

  test("are nothing behind one that is refused, whose answer ends the connection", async () => {
    await scene.apply({ mtls: "PERMISSIVE" }, {});
    const answer = await plain(`POST /a HTTP/1.1\r\n${HOST}Expect: more\r\nContent-Length: 0\r\n\r\nGET /b HTTP/1.1\r\n${HOST}\r\n`);
    assert.match(answer, /^HTTP\/1\.1 417 .*\r\nconnection: close\r\n/is);
    assert.equal((await scene.setup.keeper.next()).detail, "an unknown expectation");
    await call({ port: scene.setup.port(), path: "/c" });
    assert.deepEqual(scene.application.seen, ["GET /c"]);
  });
});

test("a WebSocket in plaintext ends when the port becomes STRICT", async () => {
  const { application, setup } = scene;
  application.upgrade = (_request, socket) => {
    socket.on("error", () => undefined);
    socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  };
  await scene.apply({ mtls: "PERMISSIVE" }, {});
  const socket = await plainSocket(setup.port());
  socket.on("error", () => undefined).write(WEB_SOCKET);
  assert.match(String((await once(socket, "data"))[0]), /^HTTP\/1\.1 101 /);
  const closed = once(socket, "close");
  await setup.proxy.apply(workloadPolicy({ inbound: [inboundListener(application.port, { mtls: "STRICT" })] }));
  await closed;
  assert.equal((await setup.keeper.next(({ path }) => path === "/ws")).status, 101);
});

describe("a client that sends and breaks its connection at once", () => {
  /** In a process of its own, while this one waits and looks at no connection. */
  const script = `
    const socket = require("node:net").connect({ host: "127.0.0.1", port: Number(process.argv[1]) });
    socket.on("connect", () => socket.write(process.argv[2], () => socket.resetAndDestroy()));
  `;
  const notFromHere: CompiledRule = rule("not-from-here", {
    kind: "when",
    from: [[{ attribute: "sourceIp", argument: "", negated: false, values: [{ kind: "ip", block: parseIpBlock("127.0.0.0/8") }] }]],
    to: [],
    when: [],
  });

  test("is not taken for one without an address", async () => {
    const { application, setup } = scene;
    await scene.apply({ mtls: "PERMISSIVE" }, {});
    // Whatever is let pass has a connection to go by.
    await call({ port: setup.port(), path: "/first" });
    await scene.apply({ mtls: "PERMISSIVE" }, { http: layers({ deny: [notFromHere] }) });
    const request = `GET /secret HTTP/1.1\r\n${HOST}\r\n`;
    execFileSync(process.execPath, ["-e", script, String(setup.port()), request]);
    assert.equal((await call({ port: setup.port(), path: "/last" })).status, 403);
    assert.deepEqual(application.seen, ["GET /first"]);
    assert.deepEqual(
      setup.keeper.records.filter(({ sourceIp }) => sourceIp !== "127.0.0.1"),
      [],
    );
  });

  test("nor is one that has proved who it is", async () => {
    const { application, setup } = scene;
    await scene.apply({ mtls: "STRICT" }, { http: layers({ deny: [rule("nothing", pathPrefix("/nothing"))] }) });
    await scene.frontend("/first");
    await scene.apply({ mtls: "STRICT" }, { http: layers({ deny: [notFromHere] }) });
    for (let round = 0; round < 20; round++) {
      const socket = connect({ host: "127.0.0.1", port: setup.port() });
      const tls = connectTls({ socket, ...peerOptions(setup.material(FRONTEND)) }).on("error", () => undefined);
      await once(tls, "secureConnect");
      tls.write(`GET /secret HTTP/1.1\r\n${HOST}\r\n`);
      socket.resetAndDestroy();
    }
    assert.equal((await scene.frontend("/last")).status, 403);
    assert.deepEqual(application.seen, ["GET /first"]);
  });
});

test("trailers and headers that Node wants once reach an HTTP/2 application as they came", async () => {
  const server = createHttp2Server();
  const received: string[] = [];
  server.on("stream", (stream: ServerHttp2Stream, _headers, _flags, head: string[]) => {
    stream.on("trailers", (_fields, _flags, trailers: string[]) => received.push(...trailers));
    stream.resume().on("end", () => {
      received.push(...head.filter((_, index) => /^(?:age|user-agent)$/.test(head[index & ~1] ?? "")));
      stream.respond({ ":status": 200 }, { endStream: true });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await scene.setup.proxy.apply(workloadPolicy({ inbound: [inboundListener(port, { protocol: "http2", mtls: "PERMISSIVE" })] }));
  const answer = await plain(
    `POST / HTTP/1.1\r\n${HOST}User-Agent: a\r\nUser-Agent: b\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nDate: 1\r\nDate: 2\r\n\r\n`,
  );
  assert.match(answer, /^HTTP\/1\.1 200 /);
  assert.deepEqual(received, ["date", "1", "date", "2", "user-agent", "a", "user-agent", "b"]);
  server.close();
});

test("a long path is recorded as far as a record keeps it", async () => {
  await scene.apply({ mtls: "PERMISSIVE" }, {});
  const path = `/${"a".repeat(10_000)}`;
  assert.equal((await call({ port: scene.setup.port(), path })).status, 200);
  assert.equal((await scene.setup.keeper.next()).path, path.slice(0, 2_049));
});
