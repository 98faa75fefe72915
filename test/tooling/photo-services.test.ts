import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ask, type RunningService, serviceVariables, startService } from "./photo-example.ts";
import { ROOT, runNode } from "./program.ts";

interface Example {
  readonly datastore: RunningService;
  readonly backend: RunningService;
  readonly frontend: RunningService;
}

/** The three services, wired to each other without a mesh. */
async function startAll(t: TestContext): Promise<Example> {
  const datastore = await startService(t, "datastore");
  const backend = await startService(t, "photo-backend", serviceVariables("datastore", datastore.port));
  const frontend = await startService(t, "photo-frontend", serviceVariables("photo-backend", backend.port));
  return { datastore, backend, frontend };
}

const TITLES = ["Lighthouse at dusk", "Two herons", "Harbour in fog"];

test("the frontend lists the photos that the backend keeps in the datastore, as JSON or as a page", async (t) => {
  const { frontend } = await startAll(t);
  const { status, body } = await ask({ at: frontend.port });
  assert.equal(status, 200);
  assert.deepEqual(
    JSON.parse(body).photos.map(({ title }: { title: string }) => title),
    TITLES,
  );
  const page = await ask({ at: frontend.port, headers: { accept: "text/html" } });
  assert.equal(page.type, "text/html; charset=utf-8");
  for (const title of TITLES) assert.ok(page.body.includes(`>${title}</a>`), page.body);
});

test("one photo is shown, a deleted one is gone, and /admin counts what is left", async (t) => {
  const { backend, frontend } = await startAll(t);
  const one = await ask({ at: frontend.port, path: "/photos/2" });
  assert.deepEqual([one.status, JSON.parse(one.body).title], [200, "Two herons"]);
  assert.equal((await ask({ at: backend.port, path: "/photos/2", method: "DELETE" })).status, 204);
  assert.equal((await ask({ at: backend.port, path: "/photos/2", method: "DELETE" })).status, 404);
  assert.equal((await ask({ at: frontend.port, path: "/photos/2" })).status, 404);
  const admin = JSON.parse((await ask({ at: backend.port, path: "/admin" })).body);
  assert.equal(admin.photos, 2);
  assert.match(admin.datastore, /^keys:3\r$/m);
});

test("what a service does not have is 404, and the frontend takes only GET", async (t) => {
  const { backend, frontend } = await startAll(t);
  const asked = [
    { at: backend.port, path: "/" },
    { at: backend.port, path: "/photos/../admin" },
    { at: backend.port, path: "/photos", method: "POST" },
    { at: frontend.port, path: "/admin" },
    { at: frontend.port, path: "/photos/1/2" },
  ];
  const statuses = await Promise.all(asked.map(async (each) => (await ask(each)).status));
  assert.deepEqual(statuses, [404, 404, 404, 404, 404]);
  assert.equal((await ask({ at: frontend.port, method: "DELETE", path: "/photos/1" })).status, 405);
});

test("while the datastore is away requests fail at once, and after it is back they succeed", async (t) => {
  const { datastore, backend, frontend } = await startAll(t);
  assert.equal((await ask({ at: frontend.port })).status, 200);
  await datastore.stop();
  const away = await ask({ at: backend.port, path: "/photos" });
  assert.equal(away.status, 503);
  assert.match(away.body, /datastore cannot be reached: connect ECONNREFUSED/);
  const seen = await ask({ at: frontend.port });
  assert.deepEqual([seen.status, JSON.parse(seen.body).status], [502, 503]);
  await startService(t, "datastore", { PORT: String(datastore.port) });
  assert.deepEqual(JSON.parse((await ask({ at: frontend.port })).body).photos.length, 3);
});

test("a datastore that restarted between two requests costs no request", async (t) => {
  const { datastore, backend } = await startAll(t);
  assert.equal((await ask({ at: backend.port, path: "/photos" })).status, 200);
  await datastore.stop();
  await startService(t, "datastore", { PORT: String(datastore.port) });
  assert.equal((await ask({ at: backend.port, path: "/photos" })).status, 200);
});

/** A datastore that never has anything, and on its first connection falls silent at the third command: that one it cuts. */
async function startCutting(t: TestContext) {
  const commands: string[] = [];
  let connections = 0;
  const server = createServer((socket) => {
    const first = ++connections === 1;
    let count = 0;
    socket
      .on("error", () => undefined)
      .on("data", (chunk) => {
        const name = /\$\d+\r\n(\w+)/.exec(String(chunk))?.[1] ?? "";
        commands.push(name);
        if (first && ++count === 3) socket.destroy();
        else socket.write(name === "KEYS" ? "*0\r\n" : name === "DEL" ? ":1\r\n" : "$1\r\n1\r\n");
      });
  });
  t.after(() => server.close());
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { backend: await startService(t, "photo-backend", serviceVariables("datastore", address.port)), commands };
}

test("a command that a lost connection swallowed is sent again", async (t) => {
  const { backend, commands } = await startCutting(t);
  assert.equal((await ask({ at: backend.port, path: "/photos" })).status, 200);
  assert.equal((await ask({ at: backend.port, path: "/photos" })).status, 200);
  assert.deepEqual(commands, ["GET", "KEYS", "KEYS", "GET", "KEYS"]);
});

test("a deletion that a lost connection swallowed is not sent again, since nobody knows whether it was done", async (t) => {
  const { backend, commands } = await startCutting(t);
  assert.equal((await ask({ at: backend.port, path: "/photos" })).status, 200);
  assert.equal((await ask({ at: backend.port, method: "DELETE", path: "/photos/1" })).status, 503);
  assert.equal((await ask({ at: backend.port, method: "DELETE", path: "/photos/1" })).status, 204);
  assert.deepEqual(commands, ["GET", "KEYS", "DEL", "GET", "DEL"]);
});

test("concurrent first requests share one connection to the datastore", async (t) => {
  const { backend } = await startAll(t);
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask({ at: backend.port, path: "/admin" })));
  for (const { body } of answers) assert.match(JSON.parse(body).datastore, /^connected_clients:1\r$/m);
});

test("a datastore connection that is accepted and closed, as a proxy that denies does, is an answer and not a hang", async (t) => {
  const closing = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  t.after(() => closing.close());
  await once(closing, "listening");
  const address = closing.address();
  assert.ok(address !== null && typeof address === "object");
  const backend = await startService(t, "photo-backend", serviceVariables("datastore", address.port));
  const { status, body } = await ask({ at: backend.port, path: "/photos" });
  assert.equal(status, 503);
  assert.match(body, /the connection was closed|ECONNRESET|EPIPE/);
});

test("the frontend passes on how the backend's proxy refused", async (t) => {
  const denying = createHttpServer((_, response) => response.writeHead(403, { "content-type": "text/plain" }).end("RBAC: access denied"));
  t.after(() => denying.close());
  await once(denying.listen(0, "127.0.0.1"), "listening");
  const address = denying.address();
  assert.ok(address !== null && typeof address === "object");
  const frontend = await startService(t, "photo-frontend", serviceVariables("photo-backend", address.port));
  const { status, body } = await ask({ at: frontend.port });
  assert.equal(status, 502);
  assert.deepEqual(JSON.parse(body), { error: "photo-backend refused", status: 403, said: "RBAC: access denied" });
});

for (const [name, variable] of [
  ["photo-frontend", "PHOTO_BACKEND"],
  ["photo-backend", "DATASTORE"],
]) {
  test(`${name} does not start without being told where its service is, so that it cannot go around its proxy`, async () => {
    const env = { [`${variable}_SERVICE_HOST`]: undefined, [`${variable}_SERVICE_PORT`]: undefined };
    const { code, stderr } = await runNode([join(ROOT, "examples", "photo", `${name}.mjs`)], { env });
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`^set ${variable}_SERVICE_HOST and ${variable}_SERVICE_PORT to where `));
  });
}

test("each service ends on SIGTERM with exit code 0, also with a connection open", async (t) => {
  const { datastore, backend, frontend } = await startAll(t);
  await ask({ at: frontend.port });
  const open = connect(datastore.port, "127.0.0.1").on("error", () => undefined);
  t.after(() => open.destroy());
  await once(open, "connect");
  assert.deepEqual(await Promise.all([frontend.stop(), backend.stop(), datastore.stop()]), [0, 0, 0]);
});

test("a port that is taken is told, and the service ends", async (t) => {
  const { port } = await startService(t, "datastore");
  const { code, stderr } = await runNode([join(ROOT, "examples", "photo", "datastore.mjs")], { env: { PORT: String(port) } });
  assert.equal(code, 1);
  assert.match(stderr, /^datastore: listen EADDRINUSE/);
});
