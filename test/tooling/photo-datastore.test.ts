import assert from "node:assert/strict";
import { statSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { findExecutable } from "../../tools/test/executables.ts";
import { exchange, makeSocketFolder, startService } from "./photo-example.ts";
import { ROOT, run, runNode } from "./program.ts";

const command = (...words: string[]) => `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;

test("every command answers as Redis does, in order, on one connection", async (t) => {
  const { port } = await startService(t, "datastore");
  const asked = [
    command("PING"),
    command("ping", "hello"),
    command("SET", "a", "één"),
    command("SET", "ab", ""),
    command("GET", "a"),
    command("GET", "ab"),
    command("GET", "none"),
    command("KEYS", "a*"),
    command("DEL", "a", "none"),
    command("KEYS", "*"),
  ];
  const replies =
    "+PONG\r\n$5\r\nhello\r\n+OK\r\n+OK\r\n$5\r\néén\r\n$0\r\n\r\n$-1\r\n*2\r\n$1\r\na\r\n$2\r\nab\r\n:1\r\n*1\r\n$2\r\nab\r\n";
  assert.equal(await exchange(port, [asked.join("")]), replies);
  assert.match(await exchange(port, [command("INFO")]), /^\$\d+\r\n# Server\r\nserver_name:garrison-example-datastore\r\n.*keys:1\r\n/s);
});

test("a command that comes byte by byte, and an inline one as a person types it, are understood", async (t) => {
  const { port } = await startService(t, "datastore");
  assert.equal(await exchange(port, [...command("SET", "k", "v\r\nw")]), "+OK\r\n");
  assert.equal(await exchange(port, ["\r\nGET k\r\nPING\r\n"]), "$4\r\nv\r\nw\r\n+PONG\r\n");
});

for (const [pattern, keys] of [
  ["photo:*", ["photo:1", "photo:22"]],
  ["photo:?", ["photo:1"]],
  ["*:*2", ["photo:22"]],
  ["p*o*o*", ["photo:1", "photo:22"]],
  ["*", ["photo:1", "photo:22", "x"]],
  ["photo", []],
  ["**x**", ["x"]],
] as const) {
  test(`KEYS ${pattern} finds ${keys.length} of three keys`, async (t) => {
    const { port } = await startService(t, "datastore");
    const sets = ["photo:1", "photo:22", "x"].map((key) => command("SET", key, "1")).join("");
    const answer = await exchange(port, [sets + command("KEYS", pattern)]);
    assert.equal(answer, `${"+OK\r\n".repeat(3)}*${keys.length}\r\n${keys.map((key) => `$${key.length}\r\n${key}\r\n`).join("")}`);
  });
}

/** What is refused, and whether the connection lives on (then PING is answered). */
const REFUSED: readonly (readonly [name: string, sent: string, answer: string])[] = [
  ["an unknown command", command("FLUSHALL"), "-ERR unknown command 'FLUSHALL'\r\n+PONG\r\n"],
  ["a name that every object has", command("constructor"), "-ERR unknown command 'constructor'\r\n+PONG\r\n"],
  ["a missing argument", command("GET"), "-ERR wrong number of arguments for 'GET' command\r\n+PONG\r\n"],
  ["a line break in an unknown command", command("a\r\n+OK"), "-ERR unknown command 'a +OK'\r\n+PONG\r\n"],
  ["an array in a command", "*1\r\n*1\r\n$4\r\nPING\r\n", "-ERR a command is an array of strings\r\n+PONG\r\n"],
  ["a value that is too long", command("SET", "k", "x".repeat(65_537)), "-ERR the key or the value is too long\r\n+PONG\r\n"],
  ["a length that is no number", "*1\r\n$x\r\n", "-ERR Protocol error: a number is not one, or out of bounds\r\n"],
  ["a length beyond the limit", "*99999999\r\n", "-ERR Protocol error: a number is not one, or out of bounds\r\n"],
  ["a bulk string of another length", "*1\r\n$2\r\nPING\r\n", "-ERR Protocol error: a bulk string has another length\r\n"],
  ["arrays in arrays without end", "*1\r\n".repeat(100), "-ERR Protocol error: too deep\r\n"],
];

for (const [name, sent, answer] of REFUSED) {
  test(`${name} is refused, and the datastore lives on`, async (t) => {
    const { port } = await startService(t, "datastore");
    assert.equal(await exchange(port, [sent, command("PING")]), answer);
    assert.equal(await exchange(port, [command("PING")]), "+PONG\r\n");
  });
}

test("it serves the same data on its Unix socket, which is its owner's alone and gone after SIGTERM", async (t) => {
  const socket = join(makeSocketFolder(t), "datastore.sock");
  const service = await startService(t, "datastore", { DATASTORE_SOCKET: socket });
  await exchange(service.port, [command("SET", "k", "v")]);
  assert.equal(await exchange(socket, [command("GET", "k")]), "$1\r\nv\r\n");
  assert.equal(statSync(socket).mode & 0o777, 0o600);
  await service.stop();
  assert.equal(statSync(socket, { throwIfNoEntry: false }), undefined);
});

test("it takes the place of a socket that a killed one left, and never that of another file", async (t) => {
  const socket = join(makeSocketFolder(t), "datastore.sock");
  const killed = await startService(t, "datastore", { DATASTORE_SOCKET: socket });
  killed.process.kill("SIGKILL");
  await killed.stop();
  assert.ok(statSync(socket).isSocket());
  const { stop } = await startService(t, "datastore", { DATASTORE_SOCKET: socket });
  assert.equal(await exchange(socket, [command("PING")]), "+PONG\r\n");
  await stop();
  writeFileSync(socket, "somebody's");
  const { code, stderr } = await runNode([join(ROOT, "examples", "photo", "datastore.mjs")], {
    env: { PORT: "0", DATASTORE_SOCKET: socket },
  });
  assert.equal(code, 1);
  assert.match(stderr, /^datastore: listen EADDRINUSE/);
});

const redisCli = findExecutable((process.env.PATH ?? "").split(delimiter), ["redis-cli"]);
const required = process.env.GARRISON_REQUIRE === "all";

test("redis-cli works with it", {
  skip: redisCli === undefined && !required ? "there is no redis-cli (apt-get install redis-tools)" : false,
}, async (t) => {
  const { port } = await startService(t, "datastore");
  const redis = async (...words: string[]) => (await run(redisCli ?? "redis-cli", ["-p", String(port), ...words])).stdout.trim();
  assert.equal(await redis("PING"), "PONG");
  assert.equal(await redis("SET", "photo:1", '{"title": "a b"}'), "OK");
  assert.equal(await redis("GET", "photo:1"), '{"title": "a b"}');
  assert.equal(await redis("KEYS", "*"), "photo:1");
  assert.equal(await redis("DEL", "photo:1"), "1");
  assert.equal(await redis("GET", "photo:1"), "");
  assert.match(await redis("INFO"), /server_name:garrison-example-datastore/);
});
