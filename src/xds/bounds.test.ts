import assert from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { afterEach, test } from "node:test";
import { Client, credentials, status } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import { DELTA, DeltaStream, delta, eventually, PLAIN, SotwStream, setOf, sotw, startServer, type TestServer } from "./test-support.ts";
import { LISTENER } from "./types.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function start(...options: Parameters<typeof startServer>): Promise<TestServer> {
  const server = await startServer(...options);
  closers.unshift(() => server.stop());
  return server;
}

function open<S extends DeltaStream | SotwStream>(stream: S): S {
  closers.unshift(() => stream.close());
  return stream;
}

const node = { id: "n" };

interface Relay {
  readonly address: string;
  /** From now on what the server sends stays in the network. */
  stopReading(): void;
  readAgain(): void;
}

async function startRelay(server: TestServer): Promise<Relay> {
  const upstreams: Socket[] = [];
  const listener = createServer((downstream) => {
    const upstream = connect(Number(server.address.split(":")[1]), "127.0.0.1");
    upstreams.push(upstream);
    upstream.on("data", (bytes) => downstream.write(bytes)).on("close", () => downstream.destroy());
    downstream.on("data", (bytes) => upstream.write(bytes)).on("close", () => upstream.destroy());
    for (const socket of [upstream, downstream]) socket.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  closers.unshift(() => {
    listener.close();
    for (const socket of upstreams) socket.destroy();
  });
  const bound = listener.address();
  assert.ok(typeof bound === "object" && bound !== null);
  const all = (change: (socket: Socket) => void) => (): void => upstreams.forEach(change);
  return { address: `127.0.0.1:${bound.port}`, stopReading: all((socket) => socket.pause()), readAgain: all((socket) => socket.resume()) };
}

async function refusal(stream: DeltaStream): Promise<[status, string]> {
  const { code, details } = await stream.status;
  return [code, details];
}

test("a first request without a node is refused", async () => {
  const stream = open(new DeltaStream((await start()).address));
  stream.send({ typeUrl: LISTENER });
  assert.deepEqual(await refusal(stream), [status.INVALID_ARGUMENT, "the first request on a stream carries no node id"]);
});

test("a stream that is not admitted hears why, and is no connection", async () => {
  const told: string[] = [];
  const admit = (): never => {
    throw new AppError("permission-denied", "the certificate is not that of `a/b`");
  };
  const server = await start({ admit, connected: (key) => told.push(key), disconnected: (key) => told.push(key) });
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  assert.deepEqual(await refusal(stream), [status.PERMISSION_DENIED, "the certificate is not that of `a/b`"]);
  assert.deepEqual(server.ads.connections(), []);
  assert.deepEqual(told, []);
});

test("what went wrong inside is not told", async () => {
  const server = await start({ admit: () => Promise.reject(new Error("secret detail")) });
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  assert.deepEqual(await refusal(stream), [status.INTERNAL, "internal error"]);
});

test("requests out of bounds end their stream with the reason, and no other stream", async () => {
  const server = await start({ limits: { requestBytes: 100_000, names: 1_000, types: 2 } });
  server.cache.set("n", setOf({ [LISTENER]: { a: "1" } }));
  const bystander = open(new DeltaStream(server.address));
  bystander.send({ node, typeUrl: LISTENER });
  await bystander.take();
  const many = (count: number, text = "name"): string[] => Array.from({ length: count }, (_, index) => `${text}-${index}`);
  const attempts: [Parameters<DeltaStream["send"]>[0][], status, RegExp][] = [
    [
      [{ node, typeUrl: PLAIN, resourceNamesSubscribe: many(1_001) }],
      status.RESOURCE_EXHAUSTED,
      /^a stream subscribes to more than 1000 names$/,
    ],
    [
      [{ node, typeUrl: PLAIN, resourceNamesUnsubscribe: many(3_001) }],
      status.RESOURCE_EXHAUSTED,
      /^a request carries 3001 names and versions/,
    ],
    [
      [{ node, typeUrl: PLAIN, resourceNamesSubscribe: many(1_000, "x".repeat(100)) }],
      status.RESOURCE_EXHAUSTED,
      /^a request of \d+ bytes is larger than 100000$/,
    ],
    [
      [{ node, typeUrl: PLAIN, resourceNamesSubscribe: ["x".repeat(1_025)] }],
      status.INVALID_ARGUMENT,
      /^a name or version is longer than 1024/,
    ],
    [
      [{ node, typeUrl: PLAIN, initialResourceVersions: { a: "x".repeat(1_025) } }],
      status.INVALID_ARGUMENT,
      /^a name or version is longer/,
    ],
    [[{ node: { id: "x".repeat(1_025) }, typeUrl: PLAIN }], status.INVALID_ARGUMENT, /^the node id is longer/],
    [[{ node, typeUrl: "" }], status.INVALID_ARGUMENT, /^a request carries no type URL$/],
    [[{ node, typeUrl: "x".repeat(1_025) }], status.INVALID_ARGUMENT, /^a type URL is longer/],
    [["a", "b", "c"].map((typeUrl) => ({ node, typeUrl })), status.RESOURCE_EXHAUSTED, /^a stream subscribes to more than 2 types$/],
    [
      [
        { node, typeUrl: PLAIN },
        { node: { id: "other" }, typeUrl: PLAIN },
      ],
      status.INVALID_ARGUMENT,
      /^the node id changed within a stream$/,
    ],
  ];
  for (const [requests, code, details] of attempts) {
    const stream = open(new DeltaStream(server.address));
    for (const request of requests) stream.send(request);
    const ended = await stream.status;
    assert.match(ended.details, details);
    assert.equal(ended.code, code);
  }
  await bystander.quiet();
  assert.equal(server.ads.connections().length, 1);
});

test("bytes that are no request end their stream with the reason", async () => {
  const server = await start();
  const client = new Client(server.address, credentials.createInsecure());
  closers.unshift(() => client.close());
  const identity = (bytes: Buffer): Buffer => bytes;
  const call = client.makeBidiStreamRequest(`/${DELTA.parent.typeName}/${DELTA.name}`, identity, identity);
  call.on("error", () => undefined);
  call.resume();
  call.write(Buffer.from([0xff, 0xff, 0xff]));
  const { code, details } = await new Promise<{ code: status; details: string }>((resolve) => call.on("status", resolve));
  assert.deepEqual([code, details], [status.INVALID_ARGUMENT, "a request is not a envoy.service.discovery.v3.DeltaDiscoveryRequest"]);
});

test("ten thousand names are served, and a change among them costs one resource", async () => {
  const server = await start();
  const names = Array.from({ length: 10_000 }, (_, index) => `outbound|15010||service-${index}.default.svc.cluster.local`);
  const texts = Object.fromEntries(names.map((name) => [name, "1"]));
  server.cache.set("n", setOf({ [PLAIN]: texts }));
  const incremental = open(new DeltaStream(server.address));
  incremental.send({ node, typeUrl: PLAIN, resourceNamesSubscribe: names });
  const all = await incremental.take();
  assert.equal(all.resources.length, 10_000);
  const whole = open(new SotwStream(server.address));
  whole.send({ node, typeUrl: PLAIN, resourceNames: names });
  const response = await whole.next();
  assert.equal(response.resources.length, 10_000);
  whole.ack(response, names);
  await eventually(() => server.ads.ackState("n") === "acked");
  server.cache.set("n", setOf({ [PLAIN]: { ...texts, [String(names[4_321])]: "2" } }));
  assert.deepEqual(delta(await incremental.take()), { type: PLAIN, resources: { [String(names[4_321])]: "2" } });
  assert.deepEqual(sotw(await whole.next()), { type: PLAIN, bodies: ["2"] });

  const again = open(new DeltaStream(server.address));
  const initialResourceVersions = Object.fromEntries(all.resources.map(({ name, version }) => [name, version]));
  again.send({ node, typeUrl: PLAIN, resourceNamesSubscribe: names, initialResourceVersions });
  assert.deepEqual(delta(await again.take()), { type: PLAIN, resources: { [String(names[4_321])]: "2" } });
});

test("a flood of requests is read no faster than the bound, and all of it in the end", async () => {
  const texts = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`r${index}`, "1"]));
  const subscribed = (server: TestServer) => server.ads.connections().find(({ nodeId }) => nodeId === "flood")?.types[0]?.resources;
  const flood = (server: TestServer): void => {
    server.cache.set("flood", setOf({ [PLAIN]: texts }));
    server.cache.set("n", setOf({ [LISTENER]: { a: "1" } }));
    const stream = open(new DeltaStream(server.address));
    for (const name of Object.keys(texts)) stream.send({ node: { id: "flood" }, typeUrl: PLAIN, resourceNamesSubscribe: [name] });
  };
  const still = await start({ limits: { requestsPerSecond: 10 }, tickMs: 3_600_000 });
  flood(still);
  await eventually(() => subscribed(still) === 10);
  const bystander = open(new DeltaStream(still.address));
  bystander.send({ node, typeUrl: LISTENER });
  await bystander.take();
  assert.equal(subscribed(still), 10);

  const ticking = await start({ limits: { requestsPerSecond: 100 }, tickMs: 5 });
  flood(ticking);
  await eventually(() => subscribed(ticking) === 1_000);
});

test("a client that does not read is kept one response, and gets the newest state when it reads again", async () => {
  const server = await start();
  const big = "x".repeat(2 << 20);
  const state = (version: number) => setOf({ [PLAIN]: { big }, [LISTENER]: { l: String(version) } });
  server.cache.set("n", state(0));
  const relay = await startRelay(server);
  const stream = open(new DeltaStream(relay.address));
  stream.send({ node, typeUrl: LISTENER });
  await stream.take();
  await stream.quiet();
  relay.stopReading();
  stream.send({ typeUrl: PLAIN, resourceNamesSubscribe: ["big"] });
  await eventually(() => server.ads.connections()[0]?.types.find(({ typeUrl }) => typeUrl === PLAIN)?.sent !== undefined);
  for (let version = 1; version <= 200; version++) server.cache.set("n", state(version));
  relay.readAgain();
  assert.deepEqual(delta(await stream.take()), { type: PLAIN, resources: { big } });
  assert.deepEqual(delta(await stream.take()), { type: LISTENER, resources: { l: "200" } });
  await stream.quiet();
});

test("a stream that sends no request, or is not admitted in time, is ended", async () => {
  let now = 0;
  const clock = { now: () => (now += 1_000) };
  const server = await start({ clock, tickMs: 5, admit: () => new Promise(() => undefined) });
  const silent = open(new DeltaStream(server.address));
  const undecided = open(new DeltaStream(server.address));
  undecided.send({ node, typeUrl: LISTENER });
  for (const stream of [silent, undecided]) {
    assert.deepEqual(await refusal(stream), [status.DEADLINE_EXCEEDED, "the stream was not admitted within 10000 ms"]);
  }
});

test("a client that never answers is ended, one that answers is not", async () => {
  let now = 0;
  const server = await start({ clock: { now: () => now }, tickMs: 5 });
  server.cache.set("n", setOf({ [LISTENER]: { a: "1" } }));
  const good = open(new DeltaStream(server.address));
  good.send({ node, typeUrl: LISTENER });
  await good.take();
  await eventually(() => server.ads.ackState("n") === "acked");
  const mute = open(new DeltaStream(server.address));
  mute.send({ node, typeUrl: LISTENER });
  await mute.next();
  now = 300_000;
  assert.deepEqual(await refusal(mute), [status.DEADLINE_EXCEEDED, "a response was not answered within 300000 ms"]);
  await good.quiet();
});

test("a stream ends when the identity that opened it does", async () => {
  let now = 0;
  const server = await start({
    clock: { now: () => now },
    tickMs: 5,
    admit: (_peer, { id }) => ({ key: id, expiresAt: id === "n" ? 1_000 : 2_000 }),
  });
  server.cache.set("n", setOf({ [LISTENER]: {} }));
  server.cache.set("later", setOf({ [LISTENER]: {} }));
  const stream = open(new DeltaStream(server.address));
  stream.send({ node, typeUrl: LISTENER });
  await stream.take();
  const later = open(new DeltaStream(server.address));
  later.send({ node: { id: "later" }, typeUrl: LISTENER });
  await later.take();
  now = 1_000;
  assert.deepEqual(await refusal(stream), [status.UNAUTHENTICATED, "the certificate that opened the stream has expired"]);
  await later.quiet();
});

test("one stream too many of a workload ends its oldest", async () => {
  const server = await start({ limits: { streamsPerKey: 2 } });
  server.cache.set("n", setOf({ [LISTENER]: {} }));
  server.cache.set("other", setOf({ [LISTENER]: {} }));
  const streams: DeltaStream[] = [];
  for (const id of ["n", "other", "n", "n"]) {
    const stream = open(new DeltaStream(server.address));
    stream.send({ node: { id }, typeUrl: LISTENER });
    await stream.take();
    streams.push(stream);
  }
  const [oldest, ...rest] = streams;
  assert.ok(oldest);
  assert.deepEqual(await refusal(oldest), [status.RESOURCE_EXHAUSTED, "more than 2 streams of one workload"]);
  for (const stream of rest) await stream.quiet();
});

test("only so many streams may wait to be admitted", async () => {
  const server = await start({ limits: { waitingStreams: 2 }, admit: () => new Promise(() => undefined) });
  const streams = [1, 2, 3].map(() => open(new DeltaStream(server.address)));
  for (const stream of streams) stream.send({ node, typeUrl: LISTENER });
  const first = await Promise.race(streams.map((stream) => stream.status));
  assert.deepEqual([first.code, first.details], [status.UNAVAILABLE, "too many streams wait to be admitted"]);
});

test("the owner can end the streams of a key, and all of them", async () => {
  const server = await start();
  const streams = ["a", "b"].map((id) => {
    server.cache.set(id, setOf({ [LISTENER]: {} }));
    const stream = open(new DeltaStream(server.address));
    stream.send({ node: { id }, typeUrl: LISTENER });
    return stream;
  });
  const [a, b] = streams;
  assert.ok(a && b);
  await Promise.all(streams.map((stream) => stream.take()));
  server.ads.disconnect("a", new AppError("permission-denied", "the identity was revoked"));
  assert.deepEqual(await refusal(a), [status.PERMISSION_DENIED, "the identity was revoked"]);
  await b.quiet();
  server.ads.close();
  assert.deepEqual(await refusal(b), [status.UNAVAILABLE, "the control plane is shutting down"]);
  const late = open(new DeltaStream(server.address));
  late.send({ node, typeUrl: LISTENER });
  assert.equal((await late.status).code, status.UNAVAILABLE);
});

test("a peer that vanished without a word is found by pings", async () => {
  const server = await start({}, { server: { "grpc.keepalive_time_ms": 50, "grpc.keepalive_timeout_ms": 500 } });
  server.cache.set("n", setOf({ [LISTENER]: {} }));
  const relay = await startRelay(server);
  const stream = open(new DeltaStream(relay.address));
  stream.send({ node, typeUrl: LISTENER });
  await stream.take();
  relay.stopReading();
  await eventually(() => server.ads.connections().length === 0);
});
