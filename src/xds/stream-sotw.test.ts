import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { eventually, PLAIN, SotwStream, setOf, sotw, startServer, type TestServer } from "./test-support.ts";
import { CLUSTER, ENDPOINTS, LISTENER } from "./types.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function start(): Promise<TestServer> {
  const server = await startServer();
  closers.unshift(() => server.stop());
  return server;
}

function open(server: TestServer): SotwStream {
  const stream = new SotwStream(server.address);
  closers.unshift(() => stream.close());
  return stream;
}

const node = { id: "n" };

test("every response of a wildcard type is the whole state, and an empty one says that there is nothing", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [LISTENER]: { a: "a1", b: "b1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: LISTENER });
  const first = await stream.next();
  assert.deepEqual(sotw(first), { type: LISTENER, bodies: ["a1", "b1"] });
  stream.ack(first);
  server.cache.set("n", setOf({ [LISTENER]: { a: "a1", b: "b2" } }));
  const second = await stream.next();
  assert.deepEqual(sotw(second), { type: LISTENER, bodies: ["a1", "b2"] });
  assert.notEqual(second.versionInfo, first.versionInfo);
  stream.ack(second);
  server.cache.set("n", setOf({}));
  assert.deepEqual(sotw(await stream.next()), { type: LISTENER, bodies: [] });
});

test("of other types the named ones are sent, and later what changed or was named since", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "a1", b: "b1", c: "c1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: PLAIN, resourceNames: ["a", "b", "absent"] });
  const first = await stream.next();
  assert.deepEqual(sotw(first), { type: PLAIN, bodies: ["a1", "b1"] });
  stream.ack(first, ["a", "b", "absent"]);
  server.cache.set("n", setOf({ [PLAIN]: { a: "a1", b: "b2", c: "c2" } }));
  const second = await stream.next();
  assert.deepEqual(sotw(second), { type: PLAIN, bodies: ["b2"] });
  stream.ack(second, ["a", "b", "c", "absent"]);
  const third = await stream.next();
  assert.deepEqual(sotw(third), { type: PLAIN, bodies: ["c2"] });
  stream.ack(third, ["a", "b", "c", "absent"]);
  server.cache.set("n", setOf({ [PLAIN]: { a: "a1", b: "b2", c: "c2", absent: "now" } }));
  assert.deepEqual(sotw(await stream.next()), { type: PLAIN, bodies: ["now"] });
});

test("a name that was dropped and named again is sent again, though unchanged", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "a1", b: "b1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: PLAIN, resourceNames: ["a"] });
  const first = await stream.next();
  stream.ack(first, ["b"]);
  const second = await stream.next();
  assert.deepEqual(sotw(second), { type: PLAIN, bodies: ["b1"] });
  stream.ack(second, ["a", "b"]);
  assert.deepEqual(sotw(await stream.next()), { type: PLAIN, bodies: ["a1"] });
});

test("a request that answers an older response is ignored altogether", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "a1", b: "b1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: PLAIN, resourceNames: ["a"] });
  const first = await stream.next();
  stream.ack(first, ["a"]);
  server.cache.set("n", setOf({ [PLAIN]: { a: "a2", b: "b1" } }));
  const second = await stream.next();
  stream.ack(first, ["b"]);
  stream.ack(second, ["a"]);
  server.cache.set("n", setOf({ [PLAIN]: { a: "a3", b: "b3" } }));
  assert.deepEqual(sotw(await stream.next()), { type: PLAIN, bodies: ["a3"] });
});

test("an empty list means everything until a name was given, and nothing afterwards", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [LISTENER]: { a: "a1", b: "b1" }, [PLAIN]: { p: "p1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: LISTENER });
  const all = await stream.next();
  assert.deepEqual(sotw(all).bodies, ["a1", "b1"]);
  stream.ack(all, ["*", "a"]);
  const named = await stream.next();
  assert.deepEqual(sotw(named).bodies, ["a1", "b1"]);
  stream.ack(named, ["a"]);
  stream.send({ typeUrl: PLAIN, resourceNames: ["p"] });
  const plain = await stream.next();
  assert.deepEqual(sotw(plain).bodies, ["p1"]);
  server.cache.set("n", setOf({ [LISTENER]: { a: "a2", b: "b2" }, [PLAIN]: { p: "p1" } }));
  const one = await stream.next();
  assert.deepEqual(sotw(one), { type: LISTENER, bodies: ["a2"] });
  stream.ack(one, []);
  stream.ack(plain, ["p"]);
  await eventually(() => server.ads.connections()[0]?.types.find(({ typeUrl }) => typeUrl === PLAIN)?.state === "acked");
  server.cache.set("n", setOf({ [LISTENER]: { a: "a3", b: "b3" }, [PLAIN]: { p: "p2" } }));
  assert.deepEqual(sotw(await stream.next()), { type: PLAIN, bodies: ["p2"] });
});

test("a reconnecting client that has the newest state of a wildcard type is sent nothing, and of other types what it names", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [CLUSTER]: { a: "a1" }, [ENDPOINTS]: { a: "e1" } }));
  const before = open(server);
  before.send({ node, typeUrl: CLUSTER });
  const { versionInfo } = await before.next();
  before.close();

  const again = open(server);
  again.send({ node, typeUrl: CLUSTER, versionInfo });
  again.send({ typeUrl: ENDPOINTS, resourceNames: ["a"] });
  assert.deepEqual(sotw(await again.next()), { type: ENDPOINTS, bodies: ["e1"] });
  again.close();

  server.cache.set("n", setOf({ [CLUSTER]: { a: "a2" }, [ENDPOINTS]: { a: "e1" } }));
  const changed = open(server);
  changed.send({ node, typeUrl: CLUSTER, versionInfo });
  assert.deepEqual(sotw(await changed.next()), { type: CLUSTER, bodies: ["a2"] });
});

test("a response whose only news is that clusters are gone comes after the listeners that named them", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [CLUSTER]: { a: "a1", b: "b1" }, [LISTENER]: { l: "l1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: CLUSTER });
  stream.ack(await stream.next());
  stream.send({ typeUrl: LISTENER });
  stream.ack(await stream.next());
  server.cache.set("n", setOf({ [CLUSTER]: { a: "a1" }, [LISTENER]: { l: "l2" } }));
  const pushed = [sotw(await stream.next()), sotw(await stream.next())];
  assert.deepEqual(pushed, [
    { type: LISTENER, bodies: ["l2"] },
    { type: CLUSTER, bodies: ["a1"] },
  ]);
});

test("a changed cluster's endpoints are sent again, and no other's", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [CLUSTER]: { a: "a1", b: "b1" }, [ENDPOINTS]: { a: "ea", b: "eb" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: CLUSTER });
  stream.ack(await stream.next());
  stream.send({ typeUrl: ENDPOINTS, resourceNames: ["a", "b"] });
  stream.ack(await stream.next(), ["a", "b"]);
  server.cache.set("n", setOf({ [CLUSTER]: { a: "a2", b: "b1" }, [ENDPOINTS]: { a: "ea", b: "eb" } }));
  assert.deepEqual(sotw(await stream.next()), { type: CLUSTER, bodies: ["a2", "b1"] });
  assert.deepEqual(sotw(await stream.next()), { type: ENDPOINTS, bodies: ["ea"] });
});
