import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { FakeCa } from "../../../test/fakes/fake-ca.ts";
import { HttpsApi } from "./api.ts";

test("watches that end leave nothing at the connection, which others go on with", { timeout: 30_000 }, async (t) => {
  const ca = new FakeCa();
  const { key, chain: cert } = ca.serverMaterial({ addresses: ["127.0.0.1"] });
  const server = createServer({ key, cert }, (_, response) => void response.end('{"type":"BOOKMARK"}\n')).listen(0, "127.0.0.1");
  let connections = 0;
  server.on("secureConnection", () => {
    connections += 1;
  });
  await once(server, "listening");
  const api = new HttpsApi({
    server: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    credentials: () => Promise.resolve({ ca: ca.rootPem }),
  });
  const warnings: Error[] = [];
  const warn = (warning: Error) => warnings.push(warning);
  process.on("warning", warn);
  t.after(() => {
    process.off("warning", warn);
    api.close();
    server.close();
  });
  for (let count = 0; count <= EventEmitter.defaultMaxListeners; count++) {
    const { lines } = await api.watch("/api/v1/pods?watch=1", new AbortController().signal);
    assert.deepEqual(await Array.fromAsync(lines), ['{"type":"BOOKMARK"}']);
    // Until the connection is given back.
    await new Promise(setImmediate);
  }
  assert.deepEqual([connections, warnings], [1, []]);
});
