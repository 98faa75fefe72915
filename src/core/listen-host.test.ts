import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import { listenHost } from "./listen-host.ts";

test("every address is that of both families, and any other host is itself", async (t) => {
  const server = createServer((socket) => socket.end()).listen(0, listenHost("::"));
  t.after(() => server.close());
  await once(server, "listening");
  for (const host of ["127.0.0.1", "::1"]) await once(connect((server.address() as AddressInfo).port, host).resume(), "close");
  assert.deepEqual(["0.0.0.0", "::1", "10.0.0.1"].map(listenHost), ["0.0.0.0", "::1", "10.0.0.1"]);
});
