import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { DeltaStream, delta, eventually, SotwStream, setOf, sotw, startServer, type TestServer } from "./test-support.ts";
import { EXTENSION, LISTENER } from "./types.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function start(extensions: Record<string, string>, options: Parameters<typeof startServer>[0] = {}): Promise<TestServer> {
  const server = await startServer(options);
  closers.unshift(() => server.stop());
  server.cache.set("n", setOf({ [EXTENSION]: extensions }));
  return server;
}

function open<S extends DeltaStream | SotwStream>(stream: S): S {
  closers.unshift(() => stream.close());
  return stream;
}

const node = { id: "n" };
const subscription = { node, typeUrl: EXTENSION, resourceNamesSubscribe: ["a", "b"] };

async function isState(server: TestServer, state: string): Promise<void> {
  await eventually(() => server.ads.ackState("n") === state);
}

test("extension configs come one by one, so that an answer is about one of them", async () => {
  const server = await start({ a: "1", b: "1" });
  const stream = open(new DeltaStream(server.address));
  stream.send(subscription);
  assert.deepEqual(delta(await stream.take()), { type: EXTENSION, resources: { a: "1" } });
  assert.deepEqual(delta(await stream.take()), { type: EXTENSION, resources: { b: "1" } });
  await isState(server, "acked");
  server.cache.set("n", setOf({ [EXTENSION]: { a: "2" } }));
  assert.deepEqual(delta(await stream.take()), { type: EXTENSION, resources: { a: "2" } });
  assert.deepEqual(delta(await stream.take()), { type: EXTENSION, removed: ["b"] });
});

test("state of the world: extension configs come one by one too", async () => {
  const server = await start({ a: "1", b: "1" });
  const stream = open(new SotwStream(server.address));
  stream.send({ node, typeUrl: EXTENSION, resourceNames: ["a", "b"] });
  const first = await stream.next();
  assert.deepEqual(sotw(first).bodies, ["1"]);
  stream.ack(first, ["a", "b"]);
  stream.ack(await stream.next(), ["a", "b"]);
  await isState(server, "acked");
});

test("an extension config that was refused is not made good by an ACK of the same, on this stream or the next", async () => {
  const server = await start({ a: "bad", b: "1" });
  const stream = open(new DeltaStream(server.address));
  stream.send(subscription);
  stream.nack(await stream.next(), "bad");
  const b = await stream.take();
  const initialResourceVersions = Object.fromEntries(b.resources.map(({ name, version }) => [name, version]));
  await isState(server, "rejected");
  stream.send({ typeUrl: EXTENSION, resourceNamesSubscribe: ["a"] });
  assert.deepEqual(delta(await stream.take()), { type: EXTENSION, resources: { a: "bad" } });
  await isState(server, "rejected");
  stream.close();

  const again = open(new DeltaStream(server.address));
  again.send({ ...subscription, initialResourceVersions });
  assert.deepEqual(delta(await again.take()), { type: EXTENSION, resources: { a: "bad" } });
  await eventually(() => server.ads.connections().length === 1);
  await isState(server, "rejected");
  assert.deepEqual(server.ads.connections()[0]?.behind, [{ typeUrl: EXTENSION, name: "a" }]);

  server.cache.set("n", setOf({ [EXTENSION]: { a: "good", b: "1" } }));
  assert.deepEqual(delta(await again.take()), { type: EXTENSION, resources: { a: "good" } });
  await isState(server, "acked");
});

test("what clients refused that have gone is remembered of the last so many, since pods come and go without end", async () => {
  const server = await start({ a: "bad", b: "1" }, { limits: { refusedAway: 1 } });
  server.cache.set("m", setOf({ [EXTENSION]: { a: "bad", b: "1" } }));
  const state = (id: string, wanted: string): Promise<void> => eventually(() => server.ads.ackState(id) === wanted);
  const versions: Record<string, string> = {};
  for (const id of ["n", "m"]) {
    const stream = open(new DeltaStream(server.address));
    stream.send({ ...subscription, node: { id } });
    stream.nack(await stream.next(), "bad");
    for (const { name, version } of (await stream.take()).resources) versions[name] = version;
    await state(id, "rejected");
    stream.close();
    await state(id, "none");
  }
  for (const [id, wanted] of [
    ["n", "acked"],
    ["m", "rejected"],
  ] as const) {
    const again = open(new DeltaStream(server.address));
    again.send({ ...subscription, node: { id }, initialResourceVersions: versions });
    assert.deepEqual(delta(await again.take()), { type: EXTENSION, resources: { a: "bad" } });
    await state(id, wanted);
  }
});

test("a client that starts anew is believed about what its predecessor refused", async () => {
  const server = await start({ a: "new feature", b: "1" });
  const old = open(new DeltaStream(server.address));
  old.send(subscription);
  old.nack(await old.next(), "what is that");
  await old.take();
  await isState(server, "rejected");
  old.close();
  await isState(server, "none");
  const upgraded = open(new DeltaStream(server.address));
  upgraded.send(subscription);
  await upgraded.take();
  await upgraded.take();
  await isState(server, "acked");
});

test("what was refused is offered again once something else that was refused is repaired", async () => {
  const server = await start({ a: "bad", b: "1" });
  server.cache.set("n", setOf({ [EXTENSION]: { a: "bad", b: "1" }, [LISTENER]: { l: "1" } }));
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  stream.nack(await stream.next(), "its filter `a` is bad");
  stream.send(subscription);
  stream.nack(await stream.next(), "bad");
  await stream.take();
  await isState(server, "rejected");
  await stream.quiet();
  server.cache.set("n", setOf({ [EXTENSION]: { a: "good", b: "1" }, [LISTENER]: { l: "1" } }));
  assert.deepEqual(delta(await stream.take()), { type: EXTENSION, resources: { a: "good" } });
  assert.deepEqual(delta(await stream.take()), { type: LISTENER, resources: { l: "1" } });
  await isState(server, "acked");
});

test("what was refused for a reason of the client's own, such as a port in use, is offered again; an extension config is not", async () => {
  let now = 0;
  const server = await start({ a: "bad" }, { clock: { now: () => now }, tickMs: 5, limits: { refusedMs: 10_000 } });
  server.cache.set("n", setOf({ [EXTENSION]: { a: "bad" }, [LISTENER]: { l: "1" } }));
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: EXTENSION, resourceNamesSubscribe: ["a"] });
  stream.nack(await stream.next(), "bad");
  stream.send({ typeUrl: LISTENER });
  stream.nack(await stream.next(), "cannot bind");
  await isState(server, "rejected");
  await stream.quiet();
  now = 10_000;
  const again = await stream.next();
  assert.deepEqual(delta(again), { type: LISTENER, resources: { l: "1" } });
  stream.nack(again, "cannot bind");
  await stream.quiet();
  now = 20_000;
  assert.deepEqual(delta(await stream.take()), { type: LISTENER, resources: { l: "1" } });
  await eventually(() => server.ads.connections()[0]?.accepted(LISTENER, "l") !== undefined);
});
