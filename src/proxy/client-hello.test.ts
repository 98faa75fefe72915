import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { type ConnectionOptions, connect } from "node:tls";
import { type ClientHello, clientHello } from "./client-hello.ts";

/** What a real client sends first. */
async function firstBytes(options: ConnectionOptions): Promise<Buffer> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const client = connect({ host: "127.0.0.1", port, ...options });
  client.on("error", () => undefined);
  const [socket] = (await once(server, "connection")) as [import("node:net").Socket];
  const [bytes] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}

/** The message cut into records of `size` bytes. */
function inRecords(bytes: Buffer, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 5; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size);
    parts.push(Buffer.from([22, 3, 1, part.length >> 8, part.length & 0xff]), part);
  }
  return Buffer.concat(parts);
}

test("the name and the protocols of a client are read from its first message, in TLS 1.2 and 1.3", async () => {
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    const bytes = await firstBytes({ servername: "Shop.Example.org", ALPNProtocols: ["h2", "http/1.1"], maxVersion });
    assert.deepEqual(clientHello(bytes), { serverName: "shop.example.org", alpn: ["h2", "http/1.1"] });
  }
});

test("a client may name nothing", async () => {
  assert.deepEqual(clientHello(await firstBytes({})), { serverName: "", alpn: [] });
});

test("a part of the message is no verdict yet, wherever it ends, and records of any size are put together", async () => {
  const bytes = await firstBytes({ servername: "shop.example.org" });
  for (let length = 0; length < bytes.length; length++) assert.equal(clientHello(bytes.subarray(0, length)), undefined, String(length));
  const expected: ClientHello = { serverName: "shop.example.org", alpn: [] };
  for (const size of [200, 1000]) assert.deepEqual(clientHello(inRecords(bytes, size)), expected);
});

test("more records than any client writes are no such message, so that reading them again with each byte stays cheap", async () => {
  const bytes = await firstBytes({ servername: "shop.example.org" });
  assert.equal(clientHello(inRecords(bytes, 1)), "none");
});

test("what is no such message is told at once, and a broken one is never taken for another", async () => {
  const bytes = await firstBytes({ servername: "shop.example.org" });
  assert.equal(clientHello(Buffer.from("GET / HTTP/1.1\r\n")), "none");
  assert.equal(clientHello(Buffer.from([22, 3, 1, 0, 0])), "none");
  assert.equal(clientHello(Buffer.from([22, 3, 1, 0xff, 0xff])), "none");
  assert.equal(clientHello(Buffer.from([22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff])), "none");
  assert.equal(clientHello(Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0])), "none");
  for (let at = 9; at < bytes.length; at++) {
    const broken = Buffer.from(bytes);
    broken[at] = 0xff;
    const verdict = clientHello(broken);
    assert.ok(verdict === "none" || verdict === undefined || typeof verdict === "object", String(at));
  }
});
