import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { stillHeld } from "../../test/fixture/collected.ts";
import type { Downstream } from "./exchange.ts";
import { Http1Server } from "./http1-server.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { NO_HEADERS } from "./message.ts";

const UPGRADE = "GET /live HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

let listening: Server;
let endpoint: Server;
let accepted: PromiseWithResolvers<Socket>;

beforeEach(async () => {
  accepted = Promise.withResolvers();
  listening = createServer({ allowHalfOpen: true }, (socket) => accepted.resolve(socket)).listen(0, "127.0.0.1");
  endpoint = createServer((socket) => socket.on("error", () => undefined).pipe(socket)).listen(0, "127.0.0.1");
  await Promise.all([once(listening, "listening"), once(endpoint, "listening")]);
});
afterEach(() => {
  listening.close();
  endpoint.close();
});

async function dial(server: Server): Promise<Socket> {
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

function serve(handle: (downstream: Downstream) => void, limits: Partial<Limits> = {}): Http1Server<undefined> {
  const all = { ...DEFAULT_LIMITS, ...limits };
  return new Http1Server({ limits: all, handle: (_, downstream) => handle(downstream), onMalformed: () => undefined }, true);
}

/** A client's connection, and the server's end of it. */
async function connection(server: Http1Server<undefined>): Promise<readonly [client: Socket, served: Socket]> {
  accepted = Promise.withResolvers();
  const client = await dial(listening);
  const served = await accepted.promise;
  server.serve(served, undefined, "http");
  return [client, served];
}

test("a WebSocket that has ended is forgotten", { timeout: 30_000 }, async (t) => {
  const server = serve((downstream) => {
    void dial(endpoint).then((socket) => downstream.upgrade(NO_HEADERS, { socket, first: undefined }));
  });
  t.after(() => server.close());
  const talk = async (): Promise<WeakRef<object>> => {
    const [client, served] = await connection(server);
    client.write(UPGRADE);
    assert.match(String(await once(client, "data")), /^HTTP\/1\.1 101 /);
    client.destroy();
    await once(served, "close");
    accepted = Promise.withResolvers();
    return new WeakRef(served);
  };
  const refs = [await talk(), await talk(), await talk()];
  assert.equal(await stillHeld(refs), 0);
});

test("who gives up a WebSocket that nobody has answered yet is let go of", { timeout: 10_000 }, async (t) => {
  const asked = Promise.withResolvers<void>();
  const server = serve(() => asked.resolve());
  t.after(() => server.close());
  const [client, served] = await connection(server);
  client.write(UPGRADE);
  await asked.promise;
  client.end();
  await once(served, "close");
});

test("a WebSocket that nobody answers ends when nothing moves, though its client stays", { timeout: 10_000 }, async (t) => {
  const server = serve(() => undefined, { idleMs: 100 });
  t.after(() => server.close());
  const [client, served] = await connection(server);
  client.write(UPGRADE);
  await Promise.all([once(served, "close"), once(client, "close")]);
});
