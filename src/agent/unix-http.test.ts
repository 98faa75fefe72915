import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { requestOverSocket } from "./unix-http.ts";

let folder: string;
let socket: string;
let server: Server | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "garrison-http-"));
  socket = join(folder, "s.sock");
});
afterEach(() => {
  server?.close();
  server?.closeAllConnections();
  server = undefined;
  rmSync(folder, { recursive: true });
});

function serve(listener: RequestListener): Promise<void> {
  const listening = createServer(listener);
  server = listening;
  return new Promise((resolve) => listening.listen(socket, resolve));
}

const ask = (timeoutMs = 10_000) => requestOverSocket({ socket, method: "POST", path: "/x?y=1", timeoutMs });

describe("a request over a Unix socket", () => {
  it("brings the status and the whole body", async () => {
    await serve((request, response) => response.writeHead(503).end(`${request.method} ${request.url} ${"é".repeat(100_000)}`));
    const { status, body } = await ask();
    assert.equal(status, 503);
    assert.equal(body, `POST /x?y=1 ${"é".repeat(100_000)}`);
  });

  it("says that nobody is there", async () => {
    await assert.rejects(ask(), { code: "unavailable", message: `\`${socket}\` cannot be reached` });
  });

  it("does not wait for ever, neither for an answer nor for its end", async () => {
    await serve(() => undefined);
    await assert.rejects(ask(50), { code: "deadline-exceeded" });
    server?.removeAllListeners("request");
    server?.on("request", (_, response) => response.write("never ends"));
    await assert.rejects(ask(50), { code: "deadline-exceeded" });
  });

  it("does not take in an endless answer", async () => {
    await serve((_, response) => {
      const chunk = Buffer.alloc(1024 * 1024);
      const more = () => {
        while (response.write(chunk));
      };
      response.on("drain", more);
      more();
    });
    await assert.rejects(ask(), { code: "resource-exhausted" });
  });

  it("says so when the answer breaks off", async () => {
    await serve((_, response) => {
      response.writeHead(200, { "content-length": 100 }).write("half");
      setImmediate(() => response.destroy());
    });
    await assert.rejects(ask(), { code: "unavailable" });
  });
});
