/** Bytes that two parsers could read as different requests: none of them reaches the application as more than it was decided on. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { type Application, startApplication } from "../../test/fakes/http-application.ts";
import { call2, exchangeRaw, http2Session, peerOptions, readAll, tlsSocket } from "../../test/fakes/http-clients.ts";
import {
  FRONTEND,
  inboundListener,
  layers,
  makeProxy,
  type ProxyUnderTest,
  pathPrefix,
  rule,
  workloadPolicy,
} from "../../test/fakes/proxy-setup.ts";

let application: Application;
let setup: ProxyUnderTest;

before(async () => {
  application = await startApplication();
  setup = makeProxy({ limits: { headMs: 300, resetBurst: 20, resetRate: 1 } });
  const http = layers({ deny: [rule("no-admin", pathPrefix("/admin"))] });
  await setup.proxy.apply(workloadPolicy({ inbound: [inboundListener(application.port, { mtls: "PERMISSIVE" })], http }));
});
after(async () => {
  await setup.proxy.close(0);
  await application.close();
});
beforeEach(() => {
  application.seen.length = 0;
});

const HOST = "Host: backend\r\n";
const SMUGGLED = `GET /admin HTTP/1.1\r\n${HOST}\r\n`;

/** What comes back for raw bytes over mutual TLS. */
async function answerTo(bytes: string): Promise<string> {
  return exchangeRaw(await tlsSocket(setup.port(), peerOptions(setup.material(FRONTEND))), bytes);
}

describe("requests that are refused, with all that follows them", () => {
  const refused: readonly (readonly [string, string])[] = [
    ["both lengths", `POST /a HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    [
      "both lengths, the other way round",
      `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${SMUGGLED}`,
    ],
    ["two lengths that differ", `POST /a HTTP/1.1\r\n${HOST}Content-Length: 0\r\nContent-Length: 44\r\n\r\n${SMUGGLED}`],
    ["two lengths that agree", `POST /a HTTP/1.1\r\n${HOST}Content-Length: 0\r\nContent-Length: 0\r\n\r\n${SMUGGLED}`],
    ["a length with a sign", `POST /a HTTP/1.1\r\n${HOST}Content-Length: +0\r\n\r\n${SMUGGLED}`],
    ["a length that is no number", `POST /a HTTP/1.1\r\n${HOST}Content-Length: 0x0\r\n\r\n${SMUGGLED}`],
    ["a disguised coding", `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a coding behind another", `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a header name with a space", `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["a folded header", `POST /a HTTP/1.1\r\n${HOST}X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${SMUGGLED}`],
    ["lines that end in a bare line feed", `GET /a HTTP/1.1\n${HOST}\n${SMUGGLED}`],
    ["a bare carriage return in a header", `GET /a HTTP/1.1\r\n${HOST}X: y\rZ: 1\r\n\r\n${SMUGGLED}`],
    ["a zero byte in a header", `GET /a HTTP/1.1\r\n${HOST}X: y\0z\r\n\r\n${SMUGGLED}`],
    ["a chunk size that is none", `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n${SMUGGLED}`],
    ["two Host headers", `GET /a HTTP/1.1\r\n${HOST}Host: other\r\n\r\n`],
    ["no Host header", "GET /a HTTP/1.1\r\n\r\n"],
    ["HTTP/1.0", `GET /a HTTP/1.0\r\n${HOST}\r\n`],
    ["HTTP/0.9", "GET /a\r\n\r\n"],
    ["an unknown version", `GET /a HTTP/3.0\r\n${HOST}\r\n`],
    ["CONNECT", `CONNECT backend:80 HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}`],
    ["a path with a line break", `GET /a\r\nX HTTP/1.1\r\n${HOST}\r\n`],
    ["a head beyond the limit", `GET /a HTTP/1.1\r\n${HOST}X: ${"a".repeat(70_000)}\r\n\r\n`],
    ["more headers than allowed", `GET /a HTTP/1.1\r\n${HOST}${"X: y\r\n".repeat(200)}\r\n`],
  ];
  for (const [what, bytes] of refused) {
    test(what, async () => {
      const answer = await answerTo(bytes.includes("Connection:") ? bytes : bytes.replace(HOST, `${HOST}Connection: close\r\n`));
      assert.match(answer, /^HTTP\/1\.1 (4\d\d|501) /);
      assert.deepEqual(
        application.seen.filter((line) => line.includes("admin")),
        [],
      );
      assert.ok(!answer.includes(" 200 "), answer);
    });
  }
});

test("requests in one piece are each decided on their own, and answered in their order", async () => {
  const close = "Connection: close\r\n";
  const answer = await answerTo(
    `GET /1 HTTP/1.1\r\n${HOST}\r\n${SMUGGLED}POST /2 HTTP/1.1\r\n${HOST}Content-Length: 4\r\n${close}\r\nbody`,
  );
  assert.deepEqual(
    [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
    ["200", "403", "200"],
  );
  assert.deepEqual(application.seen, ["GET /1", "POST /2"]);
});

test("a body is no request, whatever it looks like", async () => {
  const answer = await answerTo(`POST /a HTTP/1.1\r\n${HOST}Connection: close\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`);
  assert.match(answer, /^HTTP\/1\.1 200 /);
  assert.deepEqual(application.seen, ["POST /a"]);
});

test("a denied request's body is not read as the next request", async () => {
  const hidden = `GET /hidden HTTP/1.1\r\n${HOST}\r\n`;
  const last = `GET /last HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;
  const answer = await answerTo(`POST /admin HTTP/1.1\r\n${HOST}Content-Length: ${hidden.length}\r\n\r\n${hidden}${last}`);
  assert.deepEqual(
    [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
    ["403", "200"],
  );
  assert.deepEqual(application.seen, ["GET /last"]);
});

test("a denied client that goes on sending is read for a while, and then cut off", async () => {
  const socket = await tlsSocket(setup.port(), peerOptions(setup.material(FRONTEND)));
  socket.on("error", () => undefined);
  const answer = readAll(socket);
  socket.write(`POST /admin HTTP/1.1\r\n${HOST}Content-Length: 100000000\r\n\r\n`);
  const piece = Buffer.alloc(100_000);
  let sent = 0;
  const more = () => {
    while (!socket.destroyed && sent < 100_000_000) {
      sent += piece.length;
      if (!socket.write(piece)) return;
    }
  };
  socket.on("drain", more);
  more();
  assert.match(await answer, /^HTTP\/1\.1 403 /);
  assert.ok(sent < 100_000_000, `${sent} bytes were read`);
});

test("an upgrade to HTTP/2 in clear text is not taken, so nothing hides behind it", async () => {
  const answer = await answerTo(
    `GET /a HTTP/1.1\r\n${HOST}Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n`,
  );
  assert.match(answer, /^HTTP\/1\.1 200 /);
  assert.doesNotMatch(answer, /"upgrade"|http2-settings/);
});

test("a header in HTTP/2 cannot carry a line of HTTP/1.1", async () => {
  const session = await http2Session(setup.port(), setup.material(FRONTEND));
  const crooked = [
    { "x-a": "1\r\nx-b: 2" },
    { "x-a b": "1" },
    { ":path": "/a HTTP/1.1\r\nHost: x\r\n\r\nGET /admin" },
    { ":method": "GET /admin HTTP/1.1\r\n\r\n" },
  ];
  for (const headers of crooked) {
    const outcome = await call2(session, { ":path": "/a", ...headers }).then(
      ({ status, body }) => `${status} ${body}`,
      () => "refused",
    );
    assert.doesNotMatch(outcome, /x-b|x-a b|admin/);
  }
  session.destroy();
  assert.deepEqual(
    application.seen.filter((line) => line !== "GET /a"),
    [],
  );
});

test("a head that never ends is cut off with 408", async () => {
  const answer = await answerTo(`GET /a HTTP/1.1\r\n${HOST}X-Slow: `);
  assert.match(answer, /^HTTP\/1\.1 408 /);
});

test("a client that resets streams as fast as it opens them is cut off (CVE-2023-44487)", async () => {
  const session = await http2Session(setup.port(), setup.material(FRONTEND));
  const closed = new Promise((resolve) => session.once("close", () => resolve("closed")));
  let opened = 0;
  while (!session.closed && !session.destroyed && opened < 5_000) {
    const stream = session.request({ ":path": "/a", ":authority": "backend" });
    stream.on("error", () => undefined);
    stream.close(8);
    opened += 1;
    if (opened % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(await closed, "closed");
  // Node's own bound is 1,000 at once.
  assert.ok(opened < 500, `${opened} streams`);
});

test("what no parser took is recorded with the peer that sent it", async () => {
  await answerTo("NONSENSE\r\n\r\n");
  const { effect, caller, status, detail } = await setup.keeper.next((record) => record.detail?.includes("HPE_INVALID_METHOD") === true);
  assert.deepEqual([effect, caller, status], ["refused", FRONTEND, 400]);
  assert.match(detail ?? "", /^malformed HTTP: /);
});
