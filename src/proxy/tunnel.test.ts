import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { tunnel } from "./tunnel.ts";

const IDLE_MS = 60_000;

let server: Server;

beforeEach(async () => {
  server = createServer({ allowHalfOpen: true }, (socket) => socket.on("error", () => undefined)).listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(() => void server.close());

async function connected(): Promise<Socket> {
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

async function closed(): Promise<Socket> {
  const socket = await connected();
  socket.destroy();
  await once(socket, "close");
  return socket;
}

test("a tunnel is over at once where one side, or either, had closed before it began", { timeout: 10_000 }, async () => {
  for (const [client, endpoint] of [
    [await closed(), await connected()],
    [await connected(), await closed()],
    [await closed(), await closed()],
  ] as const) {
    assert.deepEqual(await tunnel(client, endpoint, IDLE_MS).closed, { bytesReceived: 0, bytesSent: 0 });
    assert.ok(client.destroyed && endpoint.destroyed);
  }
});
