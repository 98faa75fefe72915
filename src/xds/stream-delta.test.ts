import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { DeltaStream, delta, PLAIN, setOf, startServer, type TestServer } from "./test-support.ts";
import { CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTE } from "./types.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function start(): Promise<TestServer> {
  const server = await startServer();
  closers.unshift(() => server.stop());
  return server;
}

function open(server: TestServer): DeltaStream {
  const stream = new DeltaStream(server.address);
  closers.unshift(() => stream.close());
  return stream;
}

const node = { id: "n" };

test("an empty first request of a wildcard type means everything, and an empty set is said to be empty", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [CLUSTER]: { a: "1", b: "1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: CLUSTER });
  assert.deepEqual(delta(await stream.take()), { type: CLUSTER, resources: { a: "1", b: "1" } });
  stream.send({ typeUrl: LISTENER });
  assert.deepEqual(delta(await stream.take()), { type: LISTENER });
});

test("`*` means everything of a wildcard type, until it is unsubscribed", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [CLUSTER]: { a: "1", b: "1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: CLUSTER, resourceNamesSubscribe: ["*", "a"] });
  assert.deepEqual(delta(await stream.take()), { type: CLUSTER, resources: { a: "1", b: "1" } });
  stream.send({ typeUrl: CLUSTER, resourceNamesUnsubscribe: ["*"] });
  await stream.quiet();
  server.cache.set("n", setOf({ [CLUSTER]: { a: "2", b: "2", c: "2" } }));
  assert.deepEqual(delta(await stream.take()), { type: CLUSTER, resources: { a: "2" } });
  stream.send({ typeUrl: CLUSTER, resourceNamesUnsubscribe: ["a"] });
  await stream.quiet();
  server.cache.set("n", setOf({ [CLUSTER]: { a: "3" } }));
  await stream.quiet();
});

test("an empty request of any other type asks for nothing, and `*` is a name like any other", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: PLAIN });
  await stream.quiet();
  stream.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["*"] });
  assert.deepEqual(delta(await stream.take()), { type: PLAIN, removed: ["*"] });
});

test("a name that does not exist is answered as removed, once, and delivered when it appears", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "1", other: "1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: PLAIN, resourceNamesSubscribe: ["a", "b"] });
  assert.deepEqual(delta(await stream.take()), { type: PLAIN, resources: { a: "1" }, removed: ["b"] });
  server.cache.set("n", setOf({ [PLAIN]: { a: "1", other: "2" } }));
  await stream.quiet();
  server.cache.set("n", setOf({ [PLAIN]: { a: "1", b: "1" } }));
  assert.deepEqual(delta(await stream.take()), { type: PLAIN, resources: { b: "1" } });
});

test("a change sends what changed and names what is gone, and an equal set sends nothing", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [LISTENER]: { a: "1", b: "1", c: "1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: LISTENER });
  await stream.take();
  server.cache.set("n", setOf({ [LISTENER]: { a: "2", b: "1" } }));
  assert.deepEqual(delta(await stream.take()), { type: LISTENER, resources: { a: "2" }, removed: ["c"] });
  server.cache.set("n", setOf({ [LISTENER]: { b: "1", a: "2" } }));
  await stream.quiet();
});

test("a stream whose key has no set yet waits for it", async () => {
  const server = await start();
  const stream = open(server);
  stream.send({ node, typeUrl: CLUSTER });
  stream.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["a"] });
  const first = stream.take();
  server.cache.set("other", setOf({ [CLUSTER]: { wrong: "1" } }));
  server.cache.set("n", setOf({ [CLUSTER]: { right: "1" } }));
  assert.deepEqual(delta(await first), { type: CLUSTER, resources: { right: "1" } });
});

test("a reconnecting client is sent what changed and told what is gone, and nothing that it has", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [CLUSTER]: { a: "1", b: "1", c: "1" }, [PLAIN]: { x: "1", y: "1" } }));
  const before = open(server);
  before.send({ node, typeUrl: CLUSTER });
  const { resources } = await before.take();
  const has = Object.fromEntries(resources.map(({ name, version }) => [name, version]));
  before.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["x", "y"] });
  const plain = Object.fromEntries((await before.take()).resources.map(({ name, version }) => [name, version]));
  before.close();

  const unchanged = open(server);
  unchanged.send({ node, typeUrl: CLUSTER, initialResourceVersions: has });
  unchanged.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["x", "y"], initialResourceVersions: plain });
  await unchanged.quiet();
  unchanged.close();

  server.cache.set("n", setOf({ [CLUSTER]: { a: "1", b: "2", d: "1" }, [PLAIN]: { x: "2" } }));
  const changed = open(server);
  changed.send({ node, typeUrl: CLUSTER, initialResourceVersions: has });
  assert.deepEqual(delta(await changed.take()), { type: CLUSTER, resources: { b: "2", d: "1" } });
  assert.deepEqual(delta(await changed.take()), { type: CLUSTER, removed: ["c"] });
  changed.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["x", "y"], initialResourceVersions: plain });
  assert.deepEqual(delta(await changed.take()), { type: PLAIN, resources: { x: "2" }, removed: ["y"] });
});

test("a name that is unsubscribed is not pushed, and sent again when it is subscribed again, though unchanged", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: PLAIN, resourceNamesSubscribe: ["a"] });
  await stream.take();
  stream.send({ typeUrl: PLAIN, resourceNamesUnsubscribe: ["a", "never subscribed"] });
  await stream.quiet();
  server.cache.set("n", setOf({ [PLAIN]: { a: "2" } }));
  await stream.quiet();
  stream.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["a"] });
  assert.deepEqual(delta(await stream.take()), { type: PLAIN, resources: { a: "2" } });
  stream.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["a"] });
  assert.deepEqual(delta(await stream.take()), { type: PLAIN, resources: { a: "2" } });
});

test("a name that is unsubscribed under a wildcard is told again, or said to be gone", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [LISTENER]: { a: "1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: LISTENER, resourceNamesSubscribe: ["*", "a", "b"] });
  assert.deepEqual(delta(await stream.take()), { type: LISTENER, resources: { a: "1" }, removed: ["b"] });
  stream.send({ typeUrl: LISTENER, resourceNamesUnsubscribe: ["a", "b"] });
  assert.deepEqual(delta(await stream.take()), { type: LISTENER, resources: { a: "1" }, removed: ["b"] });
});

test("a stale nonce answers nothing, but what the request subscribes to holds", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "1", b: "1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: PLAIN, resourceNamesSubscribe: ["a"] });
  const first = await stream.next();
  stream.send({ typeUrl: PLAIN, responseNonce: "999", errorDetail: { code: 3, message: "stale" }, resourceNamesSubscribe: ["b"] });
  stream.ack(first);
  assert.deepEqual(delta(await stream.take()), { type: PLAIN, resources: { b: "1" } });
  const [connection] = server.ads.connections();
  assert.equal(connection?.types[0]?.nacked, undefined);
});

test("types are pushed clusters first and extensions last, and clusters go after what named them", async () => {
  const server = await start();
  server.cache.set(
    "n",
    setOf({ [CLUSTER]: { old: "1" }, [ENDPOINTS]: {}, [LISTENER]: { l: "1" }, [ROUTE]: { r: "1" }, [EXTENSION]: { e: "1" } }),
  );
  const stream = open(server);
  stream.send({ node, typeUrl: EXTENSION, resourceNamesSubscribe: ["e"] });
  stream.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["p"] });
  stream.send({ typeUrl: ROUTE, resourceNamesSubscribe: ["r"] });
  stream.send({ typeUrl: LISTENER });
  stream.send({ typeUrl: ENDPOINTS, resourceNamesSubscribe: ["new"] });
  stream.send({ typeUrl: CLUSTER });
  for (let count = 0; count < 6; count++) await stream.take();
  await stream.quiet();
  server.cache.set(
    "n",
    setOf({
      [CLUSTER]: { new: "2" },
      [ENDPOINTS]: { new: "2" },
      [LISTENER]: { l: "2" },
      [ROUTE]: { r: "2" },
      [EXTENSION]: { e: "2" },
      [PLAIN]: { p: "2" },
    }),
  );
  const pushed: string[] = [];
  for (let count = 0; count < 7; count++) pushed.push(JSON.stringify(delta(await stream.take())));
  assert.deepEqual(pushed, [
    JSON.stringify({ type: CLUSTER, resources: { new: "2" } }),
    JSON.stringify({ type: ENDPOINTS, resources: { new: "2" } }),
    JSON.stringify({ type: LISTENER, resources: { l: "2" } }),
    JSON.stringify({ type: ROUTE, resources: { r: "2" } }),
    JSON.stringify({ type: EXTENSION, resources: { e: "2" } }),
    JSON.stringify({ type: PLAIN, resources: { p: "2" } }),
    JSON.stringify({ type: CLUSTER, removed: ["old"] }),
  ]);
  await stream.quiet();
});

test("while a response is unanswered, changes of its type come together in one response afterwards", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "0", b: "0" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: PLAIN, resourceNamesSubscribe: ["a", "b"] });
  const first = await stream.next();
  for (let version = 1; version <= 50; version++) server.cache.set("n", setOf({ [PLAIN]: { a: String(version), b: "0" } }));
  await stream.quiet();
  stream.ack(first);
  assert.deepEqual(delta(await stream.take()), { type: PLAIN, resources: { a: "50" } });
  await stream.quiet();
});

test("listeners do not overtake clusters that wait for an answer; endpoints and extensions do", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [CLUSTER]: { c: "1" }, [ENDPOINTS]: { c: "1" }, [LISTENER]: { l: "1" }, [EXTENSION]: { e: "1" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: LISTENER });
  stream.send({ typeUrl: ENDPOINTS, resourceNamesSubscribe: ["c"] });
  stream.send({ typeUrl: EXTENSION, resourceNamesSubscribe: ["e"] });
  for (let count = 0; count < 3; count++) await stream.take();
  stream.send({ typeUrl: CLUSTER });
  const unanswered = await stream.next();
  assert.equal(unanswered.typeUrl, CLUSTER);
  assert.equal((await stream.take()).typeUrl, ENDPOINTS);
  await stream.quiet();
  server.cache.set("n", setOf({ [CLUSTER]: { c: "2" }, [ENDPOINTS]: { c: "2" }, [LISTENER]: { l: "2" }, [EXTENSION]: { e: "2" } }));
  assert.deepEqual(delta(await stream.take()), { type: ENDPOINTS, resources: { c: "2" } });
  assert.deepEqual(delta(await stream.take()), { type: EXTENSION, resources: { e: "2" } });
  await stream.quiet();
  stream.ack(unanswered);
  assert.deepEqual(delta(await stream.take()), { type: CLUSTER, resources: { c: "2" } });
  const after = [delta(await stream.take()), delta(await stream.take())];
  assert.deepEqual(after, [
    { type: ENDPOINTS, resources: { c: "2" } },
    { type: LISTENER, resources: { l: "2" } },
  ]);
});

test("a changed cluster's endpoints are sent again, on a new stream as well", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [CLUSTER]: { c: "1", d: "1" }, [ENDPOINTS]: { c: "e", d: "e" } }));
  const stream = open(server);
  stream.send({ node, typeUrl: CLUSTER });
  await stream.take();
  stream.send({ typeUrl: ENDPOINTS, resourceNamesSubscribe: ["c", "d"] });
  const versions = Object.fromEntries((await stream.take()).resources.map(({ name, version }) => [name, version]));
  server.cache.set("n", setOf({ [CLUSTER]: { c: "2", d: "1" }, [ENDPOINTS]: { c: "e", d: "e" } }));
  assert.deepEqual(delta(await stream.take()), { type: CLUSTER, resources: { c: "2" } });
  assert.deepEqual(delta(await stream.take()), { type: ENDPOINTS, resources: { c: "e" } });
  stream.close();

  const again = open(server);
  again.send({ node, typeUrl: CLUSTER, initialResourceVersions: { c: "an older one" } });
  assert.deepEqual(delta(await again.take()), { type: CLUSTER, resources: { c: "2", d: "1" } });
  again.send({ typeUrl: ENDPOINTS, resourceNamesSubscribe: ["c", "d"], initialResourceVersions: versions });
  assert.deepEqual(delta(await again.take()), { type: ENDPOINTS, resources: { c: "e", d: "e" } });
  await again.quiet();
});
