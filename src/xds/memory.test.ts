import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import { afterEach, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { status } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import { DeltaDiscoveryRequestSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { DELTA, DeltaStream, delta, eventually, PLAIN, setOf, startServer } from "./test-support.ts";
import { LISTENER } from "./types.ts";

const BIG = "x".repeat(2 << 20);
const HOUR = 3_600_000;
/** Bytes that are written at once. */
const PIECE = 64 << 10;

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A client that reads what it is told to, and answers pings meanwhile. */
class Reader {
  readonly session: ClientHttp2Session;
  readonly stream: ClientHttp2Stream;
  bytes = 0;

  constructor(address: string, id: string) {
    this.session = connect(`http://${address}`);
    closers.unshift(() => this.session.destroy());
    this.session.on("error", () => undefined);
    this.stream = this.session.request({
      ":method": "POST",
      ":path": `/${DELTA.parent.typeName}/${DELTA.name}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    this.stream.on("error", () => undefined);
    const request = create(DeltaDiscoveryRequestSchema, { node: { id }, typeUrl: PLAIN, resourceNamesSubscribe: ["big"] });
    const body = toBinary(DeltaDiscoveryRequestSchema, request);
    const frame = Buffer.alloc(5 + body.length);
    frame.writeUInt32BE(body.length, 1);
    frame.set(body, 5);
    this.stream.write(frame);
  }

  /** What there is of one piece. */
  read(): void {
    this.bytes += ((this.stream.read() as Buffer | null) ?? "").length;
  }

  get address(): string {
    return `127.0.0.1:${this.session.socket?.localPort}`;
  }
}

async function start(limits: Parameters<typeof startServer>[0] & object) {
  const readers: Reader[] = [];
  const aborted: string[] = [];
  const abort = (address: string): void => {
    aborted.push(address);
    readers.find((reader) => !reader.session.destroyed && reader.address === address)?.session.destroy();
  };
  const server = await startServer({ tickMs: 5, abort, ...limits });
  closers.unshift(() => server.stop());
  const reader = (id: string): Reader => {
    server.cache.set(id, setOf({ [PLAIN]: { big: BIG } }));
    const opened = new Reader(server.address, id);
    readers.push(opened);
    return opened;
  };
  const client = (id: string): DeltaStream => {
    server.cache.set(id, setOf({ [PLAIN]: { big: BIG }, [LISTENER]: { l: "1" } }));
    const opened = new DeltaStream(server.address);
    closers.unshift(() => opened.close());
    return opened;
  };
  const isSent = (id: string): boolean =>
    server.ads.connections().some(({ nodeId, types }) => nodeId === id && types.some(({ sent }) => sent !== undefined));
  return { ...server, aborted, reader, client, isSent };
}

test("clients that never read delay nobody beyond a turn, hold no more than the bound, and are ended where others wait", async () => {
  const { aborted, reader, client, cache, isSent } = await start({
    limits: { turnBytes: 1 << 20, flightBytes: 7 << 20, turnMs: 20, stalledMs: 200 },
  });
  const known = client("known");
  known.send({ node: { id: "known" }, typeUrl: LISTENER });
  await known.take();
  for (let each = 0; each < 3; each++) reader(`mute-${each}`);
  await eventually(() => [0, 1, 2].every((each) => isSent(`mute-${each}`)));
  const good = client("good");
  good.send({ node: { id: "good" }, typeUrl: PLAIN, resourceNamesSubscribe: ["big"] });
  assert.deepEqual(delta(await good.take()), { type: PLAIN, resources: { big: BIG } });
  assert.deepEqual(aborted, []);
  for (let each = 3; each < 5; each++) reader(`mute-${each}`);
  await eventually(() => aborted.length > 0);
  cache.set("known", setOf({ [LISTENER]: { l: "2" } }));
  assert.deepEqual(delta(await known.take()), { type: LISTENER, resources: { l: "2" } });
});

test("a client that reads slowly is not ended, however long it takes and whoever waits", async () => {
  let now = 0;
  const { aborted, reader, client } = await start({
    clock: { now: () => now },
    limits: { turnBytes: 1 << 20, flightBytes: 2 << 20, turnMs: 20, stalledMs: 1_000 },
  });
  const slow = reader("slow");
  await eventually(() => slow.stream.readableLength > 0);
  const other = client("other");
  other.send({ node: { id: "other" }, typeUrl: PLAIN, resourceNamesSubscribe: ["big"] });
  // What it has read, it has been sent: two pieces further than at the last look.
  for (let read = 0; slow.bytes < BIG.length; read += 2 * PIECE) {
    await eventually(() => {
      slow.read();
      return slow.bytes >= Math.min(read + 2 * PIECE, BIG.length);
    });
    now += 400;
  }
  assert.deepEqual(delta(await other.take()), { type: PLAIN, resources: { big: BIG } });
  assert.ok(now > 5_000);
  assert.deepEqual(aborted, []);
});

test("a client that does not read holds others up for a turn and no longer, though the clock is set back", async () => {
  let now = HOUR;
  const { reader, client, isSent } = await start({
    clock: { now: () => now },
    limits: { turnBytes: 1, flightBytes: 8 << 20, turnMs: 1_000, stalledMs: HOUR },
  });
  reader("mute");
  await eventually(() => isSent("mute"));
  const other = client("other");
  other.send({ node: { id: "other" }, typeUrl: PLAIN, resourceNamesSubscribe: ["big"] });
  now = 0;
  await eventually(() => {
    now += 100;
    return isSent("other");
  });
});

test("who disconnects in the middle of a response holds no turn", async () => {
  const { aborted, reader, client } = await start({ limits: { turnBytes: 1, flightBytes: 1, turnMs: HOUR, stalledMs: HOUR } });
  const leaves = reader("leaves");
  await eventually(() => leaves.stream.readableLength > 0);
  const other = client("other");
  other.send({ node: { id: "other" }, typeUrl: PLAIN, resourceNamesSubscribe: ["big"] });
  leaves.session.destroy();
  assert.deepEqual(delta(await other.take()), { type: PLAIN, resources: { big: BIG } });
  assert.deepEqual(aborted, []);
});

test("who was ended and does not read what is under way to it loses its connection", async () => {
  const { aborted, ads, reader, isSent } = await start({ limits: { turnMs: 20 } });
  const mute = reader("mute");
  await eventually(() => isSent("mute"));
  const { address } = mute;
  ads.disconnect("mute", new AppError("permission-denied", "the identity was revoked"));
  await eventually(() => aborted.length > 0);
  assert.deepEqual(aborted, [address]);
});

test("who is ended in the middle of a response hears why, and keeps its connection", async () => {
  const { aborted, ads, reader, isSent } = await start({ limits: { turnMs: HOUR } });
  const ended = reader("ended");
  await eventually(() => isSent("ended") && ended.stream.readableLength > 0);
  ads.disconnect("ended", new AppError("permission-denied", "the identity was revoked"));
  const trailers = once(ended.stream, "trailers");
  ended.stream.resume();
  const [{ "grpc-status": code, "grpc-message": message }] = await trailers;
  assert.deepEqual([Number(code), decodeURIComponent(String(message))], [status.PERMISSION_DENIED, "the identity was revoked"]);
  assert.deepEqual([aborted, ended.session.destroyed], [[], false]);
});
