import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ask, makeSocketFolder, serviceVariables, startService } from "./photo-example.ts";
import { ROOT, runNode } from "./program.ts";

/** The frontend, told where the other two are, with its try server; `tryIt` asks it. */
async function start(t: TestContext, more: Readonly<Record<string, string>> = {}) {
  const socket = join(makeSocketFolder(t), "try.sock");
  const datastore = await startService(t, "datastore");
  const backend = await startService(t, "photo-backend", serviceVariables("datastore", datastore.port));
  const frontend = await startService(t, "photo-frontend", {
    ...serviceVariables("photo-backend", backend.port),
    ...serviceVariables("datastore", datastore.port, "tcp-redis"),
    ...more,
    GARRISON_TRY_SOCKET: socket,
  });
  const tryIt = async (path: string, what: unknown) => {
    const { status, body } = await ask({ at: socket, method: "POST", path, body: JSON.stringify(what) });
    return { status, said: JSON.parse(body) };
  };
  return { socket, frontend, tryIt };
}

test("a try over HTTP goes to the named service and returns status, headers and body", async (t) => {
  const { tryIt } = await start(t);
  const { status, said } = await tryIt("/http", { service: "photo-backend", method: "GET", path: "/photos/1" });
  assert.equal(status, 200);
  assert.deepEqual([said.status, said.headers["content-type"], JSON.parse(said.body).id], [200, "application/json", "1"]);
  assert.equal((await tryIt("/http", { service: "photo-backend", method: "DELETE", path: "/photos/1" })).said.status, 204);
});

test("a try over TCP goes to the named port of the service and returns the line that came back", async (t) => {
  const { tryIt } = await start(t);
  const expected = { status: 200, said: { reply: "+PONG\r\n", closed: false } };
  assert.deepEqual(await tryIt("/tcp", { service: "datastore", port: "tcp-redis", payload: "PING\r\n" }), expected);
  assert.deepEqual(await tryIt("/tcp", { service: "datastore", payload: "PING\r\n" }), expected);
});

test("a try that finds nobody is an answer with the error", async (t) => {
  const gone = await startService(t, "datastore");
  await gone.stop();
  const { tryIt } = await start(t, { ...serviceVariables("gone", gone.port) });
  assert.match((await tryIt("/http", { service: "gone", path: "/" })).said.error, /ECONNREFUSED/);
  const { said } = await tryIt("/tcp", { service: "gone", payload: "PING\r\n" });
  assert.match(said.error, /ECONNREFUSED/);
  assert.equal(said.closed, true);
});

test("a TCP connection that is closed without a word, as a proxy that denies does, shows as that", async (t) => {
  const closing = createServer((socket) => socket.once("data", () => socket.end())).listen(0, "127.0.0.1");
  t.after(() => closing.close());
  await once(closing, "listening");
  const address = closing.address();
  assert.ok(address !== null && typeof address === "object");
  const { tryIt } = await start(t, serviceVariables("closing", address.port));
  assert.deepEqual((await tryIt("/tcp", { service: "closing", payload: "PING\r\n" })).said, { reply: "", closed: true });
});

test("only services that the environment names can be tried", async (t) => {
  const { tryIt } = await start(t);
  for (const [path, what] of [
    ["/http", { service: "elsewhere" }],
    ["/tcp", { service: "elsewhere" }],
    ["/tcp", { service: "datastore", port: "other" }],
  ] as const) {
    const { status, said } = await tryIt(path, what);
    assert.equal(status, 404);
    assert.match(said.error, /the environment does not say where `\w+` is/);
  }
});

test("a request that is not understood is refused, and the next one works", async (t) => {
  const { socket, tryIt } = await start(t);
  for (const body of ["{", "[]", "null", '{"service": 7}', '{"service": "datastore", "port": 6379}']) {
    assert.equal((await ask({ at: socket, method: "POST", path: "/tcp", body })).status, 400, body);
  }
  assert.equal((await ask({ at: socket, path: "/tcp" })).status, 404);
  assert.equal((await tryIt("/other", { service: "datastore" })).status, 404);
  const { said } = await tryIt("/http", { service: "photo-backend", method: "BAD METHOD" });
  assert.match(said.error, /method/i);
  assert.equal((await tryIt("/tcp", { service: "datastore", payload: "PING\r\n" })).said.reply, "+PONG\r\n");
});

test("the socket is its owner's alone, and gone after SIGTERM", async (t) => {
  const { socket, frontend } = await start(t);
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  await frontend.stop();
  assert.equal(statSync(socket, { throwIfNoEntry: false }), undefined);
});

test("the intruder has a try server and nothing else, and does not run without", async (t) => {
  const socket = join(makeSocketFolder(t), "try.sock");
  const intruder = spawn(process.execPath, [join(ROOT, "examples", "photo", "intruder.mjs")], {
    env: { ...serviceVariables("gone", 1), GARRISON_TRY_SOCKET: socket },
    stdio: "inherit",
  });
  const exited = once(intruder, "exit");
  t.after(() => intruder.kill("SIGKILL"));
  const tryIt = () => ask({ at: socket, method: "POST", path: "/tcp", body: JSON.stringify({ service: "gone" }) });
  let answer: Awaited<ReturnType<typeof ask>> | undefined;
  // A socket is there a moment before it is answered.
  for (let tries = 200; tries > 0 && answer === undefined; tries--) answer = await tryIt().catch(() => sleep(25));
  const body = answer?.body ?? assert.fail("it never answers");
  assert.match(JSON.parse(body).error, /ECONNREFUSED/);
  intruder.kill("SIGTERM");
  assert.deepEqual(await exited, [0, null]);
  const { code, stderr } = await runNode([join(ROOT, "examples", "photo", "intruder.mjs")], { env: { GARRISON_TRY_SOCKET: undefined } });
  assert.equal(code, 1);
  assert.match(stderr, /^set GARRISON_TRY_SOCKET /);
});
