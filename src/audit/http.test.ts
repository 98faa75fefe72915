import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { openTestStore, sampleRecord, type TestStore, temporaryFolder } from "../../test/fixture/audit-store.ts";
import { AppError } from "../core/error.ts";
import { parseJson } from "./format.ts";
import { type AuditHandlerOptions, auditHandler } from "./http.ts";

interface Admin extends TestStore {
  readonly server: Server;
  get(query: string): Promise<IncomingMessage>;
}

/** The handler on a Unix socket, as the control plane serves it. */
async function serve(t: TestContext, options: Partial<AuditHandlerOptions> = {}): Promise<Admin> {
  const opened = openTestStore(t);
  const handler = auditHandler(opened.store, { clock: opened.clock, ...options });
  const server = createServer((incoming, response) => {
    handler({ url: new URL(incoming.url ?? "", "http://admin") }, response).catch((thrown: unknown) => {
      const { code, message } = AppError.from(thrown);
      if (response.headersSent) response.destroy();
      else response.writeHead(400).end(`${code}: ${message}`);
    });
  });
  const socketPath = join(temporaryFolder(t), "admin.sock");
  await once(server.listen(socketPath), "listening");
  t.after(async () => {
    opened.store.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  const get = async (query: string) => {
    const [response] = (await once(request({ socketPath, path: `/v1/audit${query}` }).end(), "response")) as [IncomingMessage];
    return response;
  };
  return { ...opened, server, get };
}

async function text(response: IncomingMessage): Promise<string> {
  return (await Array.fromAsync(response as AsyncIterable<Buffer>)).join("");
}

async function idsOf(response: IncomingMessage): Promise<number[]> {
  return (await text(response))
    .split("\n")
    .filter(Boolean)
    .map((line) => parseJson(line).id);
}

test("the newest hundred come as JSON lines, the newest first, when nothing else is asked", async (t) => {
  const { store, get } = await serve(t);
  store.append(Array.from({ length: 150 }, () => sampleRecord()));
  const response = await get("");
  assert.equal(response.headers["content-type"], "application/x-ndjson");
  assert.deepEqual(
    await idsOf(response),
    Array.from({ length: 100 }, (_, at) => 150 - at),
  );
});

test("the query has the flags of the command line", async (t) => {
  const { store, get } = await serve(t);
  store.append([sampleRecord(), sampleRecord({ effect: "deny", path: "/admin/x", origin: "default" }), sampleRecord({ effect: "deny" })]);
  assert.deepEqual(await idsOf(await get("?effect=deny&path=%2Fadmin*&caller=photo-ns%2Fphoto-frontend&since=10m")), [2]);
});

for (const [query, message] of [
  ["?effect=denied", "`denied` is not a value of `effect`"],
  ["?effect=deny&effect=allow", "`effect` is given twice"],
  ["?follow=yes", "`yes` is not a value of `follow`"],
  ["?sql=1", "the record cannot be asked by `sql`"],
] as const) {
  test(`the query ${query} is refused in words`, async (t) => {
    const { get } = await serve(t);
    const response = await get(query);
    assert.equal(response.statusCode, 400);
    assert.ok((await text(response)).startsWith(`invalid-argument: ${message}`));
  });
}

test("a follower gets each new record once, as it comes", async (t) => {
  const { store, get } = await serve(t);
  store.append([sampleRecord()]);
  const lines = createInterface({ input: await get("?follow=1") })[Symbol.asyncIterator]();
  const found: number[] = [];
  for (let at = 0; at < 20; at++) {
    store.append([sampleRecord(), sampleRecord()]);
    for (let n = 0; n < 2; n++) found.push(parseJson(String((await lines.next()).value)).id);
  }
  assert.deepEqual(
    found,
    Array.from({ length: 40 }, (_, at) => at + 2),
  );
});

test("a follower that comes back after its last id misses nothing", async (t) => {
  const { store, get } = await serve(t);
  store.append(Array.from({ length: 5 }, () => sampleRecord()));
  assert.deepEqual(await idsOf(await get("?follow=1&after-id=2&limit=3")), [3, 4, 5]);
});

test("a follower's response ends when the store is closed", async (t) => {
  const { store, get } = await serve(t);
  const response = await get("?follow=1");
  store.close();
  assert.equal(await text(response), "");
});

test("more followers than allowed are refused, and one that goes away makes room", async (t) => {
  const { get } = await serve(t, { maxFollowers: 1 });
  const first = await get("?follow=1");
  const second = await get("?follow=1");
  assert.match(await text(second), /^resource-exhausted: 1 others follow/);
  first.destroy();
  let third = await get("?follow=1");
  for (let attempt = 0; attempt < 200 && third.statusCode !== 200; attempt++) third = await get("?follow=1");
  assert.equal(third.statusCode, 200);
});

test("a follower that has gone before it is answered holds no place", { timeout: 10_000 }, async (t) => {
  const { store, clock } = openTestStore(t);
  const handler = auditHandler(store, { clock });
  const answered = Promise.withResolvers<void>();
  const server = createServer((_, response) => {
    response.on("close", () => {
      handler({ url: new URL("http://admin/v1/audit?follow=1") }, response).then(() => answered.resolve(), answered.reject);
    });
  });
  const socketPath = join(temporaryFolder(t), "admin.sock");
  await once(server.listen(socketPath), "listening");
  t.after(() => server.close());
  const asked = request({ socketPath }).end();
  asked.on("error", () => undefined);
  await once(server, "request");
  asked.destroy();
  await answered.promise;
});

test("a reader that does not read costs no memory: what it gets waits in the file", async (t) => {
  const { store, get, server } = await serve(t);
  store.append(Array.from({ length: 50_000 }, () => sampleRecord({ detail: "x".repeat(500) })));
  const written = new Promise<number>((resolve) => {
    server.once("connection", (socket) => socket.once("close", () => resolve(socket.bytesWritten)));
  });
  const response = await get("?limit=50000");
  response.pause();
  await once(response, "readable");
  response.destroy();
  assert.ok((await written) < 10_000_000, "most of the 40 MB was never made");
});
