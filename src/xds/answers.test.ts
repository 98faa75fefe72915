import assert from "node:assert/strict";
import { once } from "node:events";
import { afterEach, test } from "node:test";
import type { XdsEvent } from "./connection.ts";
import { DeltaStream, delta, eventually, PLAIN, SotwStream, setOf, sotw, startServer, type TestServer } from "./test-support.ts";
import { CLUSTER, LISTENER } from "./types.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function start(options: Parameters<typeof startServer>[0] = {}): Promise<TestServer> {
  const server = await startServer(options);
  closers.unshift(() => server.stop());
  return server;
}

function open<S extends DeltaStream | SotwStream>(stream: S): S {
  closers.unshift(() => stream.close());
  return stream;
}

const node = { id: "n", userAgentName: "envoy", userAgentVersionType: { case: "userAgentVersion" as const, value: "1.40.0" } };

/** Resolves with the next event of a kind. */
function eventOf(server: TestServer, kind: XdsEvent["kind"]): Promise<XdsEvent> {
  return new Promise((resolve) => {
    const stop = server.ads.onEvent((event) => {
      if (event.kind !== kind) return;
      stop();
      resolve(event);
    });
  });
}

test("a connection shows who it is, what it was sent and what it accepted", async () => {
  let now = 1_000;
  const server = await start({
    clock: { now: () => now },
    admit: (_peer, { id, userAgent }) => ({ key: `${id} ${userAgent}`, expiresAt: 9_000 }),
  });
  server.cache.set("n envoy 1.40.0", setOf({ [LISTENER]: { a: "1", b: "1" } }));
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  const response = await stream.next();
  const [connection] = server.ads.connections();
  assert.ok(connection);
  assert.equal(connection.state, "pending");
  assert.equal(connection.accepted(LISTENER, "a"), undefined);
  now = 1_250;
  const acked = eventOf(server, "ack");
  stream.ack(response);
  assert.partialDeepStrictEqual(await acked, {
    key: "n envoy 1.40.0",
    typeUrl: LISTENER,
    version: response.systemVersionInfo,
    latencyMs: 250,
  });
  await eventually(() => connection.state === "acked");
  const { variant, nodeId, userAgent, connectedAt, expiresAt } = connection;
  assert.deepEqual(
    { variant, nodeId, userAgent, connectedAt, expiresAt },
    {
      variant: "delta",
      nodeId: "n",
      userAgent: "envoy 1.40.0",
      connectedAt: 1_000,
      expiresAt: 9_000,
    },
  );
  assert.match(connection.address, /^127\.0\.0\.1:\d+$/);
  assert.deepEqual(connection.types[0], {
    typeUrl: LISTENER,
    state: "acked",
    resources: 2,
    sent: { version: response.systemVersionInfo, nonce: response.nonce, at: 1_000 },
    acked: { version: response.systemVersionInfo, at: 1_250 },
    nacked: undefined,
    rejected: [],
  });
  assert.equal(connection.accepted(LISTENER, "a"), response.resources[0]?.version);
});

test("a refused resource is recorded with its message and not sent again until it changes", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "good" } }));
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: PLAIN, resourceNamesSubscribe: ["a"] });
  const good = await stream.take();
  server.cache.set("n", setOf({ [PLAIN]: { a: "bad" } }));
  const bad = await stream.next();
  const nacked = eventOf(server, "nack");
  stream.nack(bad, "no such cluster");
  assert.partialDeepStrictEqual(await nacked, {
    key: "n",
    typeUrl: PLAIN,
    names: ["a"],
    message: "no such cluster",
    version: bad.systemVersionInfo,
  });
  await stream.quiet();
  const [connection] = server.ads.connections();
  await eventually(() => connection?.state === "rejected");
  assert.equal(connection?.accepted(PLAIN, "a"), good.resources[0]?.version);
  assert.deepEqual(connection?.types[0]?.rejected, ["a"]);
  assert.deepEqual(connection?.behind, [{ typeUrl: PLAIN, name: "a" }]);

  server.cache.set("n", setOf({ [PLAIN]: { a: "good" } }));
  assert.deepEqual(delta(await stream.take()), { type: PLAIN, resources: { a: "good" } });
  await eventually(() => connection?.state === "acked");
  assert.deepEqual(connection?.types[0]?.rejected, []);
});

test("one bad resource among many is found, and the good ones get through", async () => {
  const server = await start();
  const names = Array.from({ length: 16 }, (_, index) => `r${index}`);
  server.cache.set("n", setOf({ [PLAIN]: Object.fromEntries(names.map((name) => [name, name === "r11" ? "bad" : "good"])) }));
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: PLAIN, resourceNamesSubscribe: names });
  const inForce = new Set<string>();
  while (inForce.size < 15) {
    const response = await stream.next();
    const refused = response.resources.some(({ resource }) => Buffer.from(resource?.value ?? []).toString() === "bad");
    if (refused) stream.nack(response, "bad");
    else {
      for (const { name } of response.resources) inForce.add(name);
      stream.ack(response);
    }
  }
  await stream.quiet();
  const [connection] = server.ads.connections();
  assert.deepEqual(connection?.types[0]?.rejected, ["r11"]);
  await eventually(() => connection?.state === "rejected");
});

test("state of the world: a refused complete state is not sent again, a refused part of a named type is", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [CLUSTER]: { a: "1", b: "bad" }, [PLAIN]: { x: "1", y: "bad" } }));
  const stream = open(new SotwStream(server.address));
  stream.send({ node, typeUrl: CLUSTER });
  stream.nack(await stream.next(), "b is bad");
  stream.send({ typeUrl: PLAIN, resourceNames: ["x", "y"] });
  const both = await stream.next();
  assert.deepEqual(sotw(both), { type: PLAIN, bodies: ["1", "bad"] });
  stream.nack(both, "y is bad", ["x", "y"]);
  const x = await stream.next();
  assert.deepEqual(sotw(x), { type: PLAIN, bodies: ["1"] });
  stream.ack(x, ["x", "y"]);
  const y = await stream.next();
  assert.deepEqual(sotw(y), { type: PLAIN, bodies: ["bad"] });
  const nacked = eventOf(server, "nack");
  stream.nack(y, "y is bad", ["x", "y"]);
  await nacked;
  const types = server.ads.connections()[0]?.types ?? [];
  assert.deepEqual(
    types.map(({ state, rejected, nacked: last }) => [state, rejected, last?.message]),
    [
      ["rejected", ["a", "b"], "b is bad"],
      ["rejected", ["y"], "y is bad"],
    ],
  );
  server.cache.set("n", setOf({ [CLUSTER]: { a: "1", b: "2" }, [PLAIN]: { x: "1", y: "2" } }));
  assert.deepEqual(sotw(await stream.next()), { type: CLUSTER, bodies: ["1", "2"] });
});

test("a key is acked when its stream runs the newest form of every resource, and not before it has asked for all", async () => {
  const server = await start();
  assert.equal(server.ads.ackState("n"), "none");
  server.cache.set("n", setOf({ [LISTENER]: { l: "1" }, [PLAIN]: { p: "1" } }));
  const acked = server.ads.whenAcked("n", 10_000);
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  await stream.take();
  await stream.quiet();
  assert.equal(server.ads.ackState("n"), "pending");
  assert.deepEqual(server.ads.connections()[0]?.behind, [{ typeUrl: PLAIN, name: "p" }]);
  stream.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["p"] });
  await stream.take();
  assert.equal(await acked, "acked");

  server.cache.set("n", setOf({ [LISTENER]: { l: "1" }, [PLAIN]: { p: "2" } }));
  const refused = server.ads.whenAcked("n", 10_000);
  stream.nack(await stream.next(), "no");
  assert.equal(await refused, "rejected");
});

test("waiting for an answer that does not come ends with what is known then", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [LISTENER]: { l: "1" } }));
  assert.equal(await server.ads.whenAcked("n", 1), "none");
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  await stream.next();
  assert.equal(await server.ads.whenAcked("n", 1), "pending");
});

test("the owner is told of each stream of a key, before its first response and after its end", async () => {
  const told: string[] = [];
  const options: Parameters<typeof startServer>[0] = {
    connected: (key) => told.push(`+${key}`),
    disconnected: (key) => told.push(`-${key}`),
  };
  const server = await start(options);
  server.cache.set("n", setOf({ [LISTENER]: { l: "1" } }));
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  await stream.take();
  assert.deepEqual(told, ["+n"]);
  const gone = eventOf(server, "disconnected");
  stream.call.cancel();
  assert.equal((await gone).key, "n");
  assert.deepEqual(told, ["+n", "-n"]);
  assert.deepEqual(server.ads.connections(), []);

  const polite = open(new DeltaStream(server.address));
  polite.send({ node, typeUrl: LISTENER });
  await polite.take();
  polite.call.end();
  assert.equal((await polite.status).code, 0);
  assert.deepEqual(told, ["+n", "-n", "+n", "-n"]);
});

test("the resources that the owner builds when it hears of the stream are what it is sent", async () => {
  const server = await start({ connected: (key) => server.cache.set(key, setOf({ [LISTENER]: { built: "1" } })) });
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  assert.deepEqual(delta(await stream.take()), { type: LISTENER, resources: { built: "1" } });
});

test("a client is told that it was admitted, though there is nothing to send", async () => {
  const server = await start();
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  await once(stream.call, "metadata", { signal: AbortSignal.timeout(10_000) });
  assert.equal(server.ads.connections().length, 1);
});
