/** What an Envoy writes at its agent's socket, all the way to the record, while the control plane comes and goes. */
import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";
import type { BufferBounds } from "../../src/agent/records/log-buffer.ts";
import type { Delivery } from "../../src/audit/delivery.ts";
import { AppError } from "../../src/core/error.ts";
import { AccessLogService, StreamAccessLogsMessageSchema } from "../../src/gen/envoy/service/accesslog/v3/als_pb.js";
import { methodDefinition } from "../../src/rpc/service.ts";
import { until } from "../fakes/processes.ts";
import { collect } from "../fixture/audit-store.ts";
import { RecordKeeper, type RelaySide, startRelay } from "../fixture/records.ts";

const WORKLOAD = "photo-ns/photo-backend";

interface Side extends RelaySide {
  /** Writes requests of these paths to a log, as an Envoy does. */
  write(...paths: readonly string[]): void;
}

type Identifier = MessageInitShape<typeof StreamAccessLogsMessageSchema>["identifier"];

/** The agent's side, with an Envoy's stream to its socket. */
async function startSide(
  t: TestContext,
  keeper: RecordKeeper,
  bounds: Partial<BufferBounds> = {},
  identifier: Identifier = { node: { id: "envoy" }, logName: "inbound_8080" },
): Promise<Side> {
  const agent = await startRelay(t, keeper, bounds);
  const client = new Client(`unix:${agent.socket}`, credentials.createInsecure());
  const { path, requestSerialize, responseDeserialize } = methodDefinition(AccessLogService.method.streamAccessLogs);
  const stream = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, () => undefined);
  stream.on("error", () => undefined);
  t.after(() => {
    stream.cancel();
    client.close();
  });
  let first = true;
  const write = (...paths: readonly string[]) => {
    const logEntry = paths.map((at) => ({ commonProperties: { upstreamCluster: "inbound|8080||" }, request: { path: at } }));
    const named = first && identifier !== undefined ? { identifier } : {};
    first = false;
    stream.write(create(StreamAccessLogsMessageSchema, { ...named, logEntries: { case: "httpLogs", value: { logEntry } } }));
  };
  return { ...agent, write };
}

const drained = ({ relay }: Side) => until("all is acknowledged", () => relay.status.waiting === 0);
/** Numbers as paths. */
const paths = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, at) => `/${from + at}`);

test("what an Envoy writes is in the record, in its order, once it is acknowledged", async (t) => {
  const keeper = new RecordKeeper(t);
  await keeper.start();
  const side = await startSide(t, keeper);
  side.write("/1", "/2");
  side.write("/3");
  await until("it is recorded", async () => (await keeper.said()).length === 3);
  await drained(side);
  assert.deepEqual(await keeper.said(), ["/1", "/2", "/3"]);
});

test("the records are of the agent's own workload, whatever its socket is told", async (t) => {
  const keeper = new RecordKeeper(t);
  await keeper.start();
  const victim = { id: "sidecar~10.0.0.9~victim.bank~bank.svc.cluster.local", metadata: { NAMESPACE: "bank", WORKLOAD_NAME: "victim" } };
  const side = await startSide(t, keeper, {}, { node: victim, logName: "inbound_8080" });
  side.write("/1");
  await until("it is recorded", async () => (await keeper.said()).length === 1);
  const [record] = await collect(keeper.store.query({}), (one) => one);
  assert.deepEqual([record?.workload, record?.service], [WORKLOAD, WORKLOAD]);
});

test("the socket is its user's alone", async (t) => {
  const keeper = new RecordKeeper(t);
  await keeper.start();
  const { socket } = await startSide(t, keeper);
  assert.equal(statSync(socket).mode & 0o777, 0o600);
});

test("what was written down and not acknowledged is not written twice", async (t) => {
  const keeper = new RecordKeeper(t);
  const deliveries: Delivery[] = [];
  // It dies between the two.
  await keeper.start(async (delivery) => {
    deliveries.push(delivery);
    await keeper.store.deliver(delivery);
    keeper.kill();
    await new Promise(() => undefined);
  });
  const side = await startSide(t, keeper);
  side.write("/1", "/2");
  await until("it is written down", async () => (await keeper.said()).length === 2);
  side.write("/3");
  assert.equal(deliveries.length, 1);
  await keeper.start((delivery) => {
    deliveries.push(delivery);
    return keeper.store.deliver(delivery);
  });
  await until("the rest is recorded", async () => (await keeper.said()).length === 3);
  await drained(side);
  assert.deepEqual(await keeper.said(), ["/1", "/2", "/3"]);
  assert.deepEqual([deliveries[1]?.first, deliveries[1]?.run], [1, deliveries[0]?.run]);
});

test("what a control plane cannot write down is kept, and written when it can", async (t) => {
  const keeper = new RecordKeeper(t);
  let refused = 0;
  await keeper.start((delivery) => {
    if (refused >= 2) return keeper.store.deliver(delivery);
    refused++;
    return Promise.reject(new AppError("unavailable", "the disk is full"));
  });
  const side = await startSide(t, keeper);
  side.write("/1");
  side.write("/2");
  await until("it is recorded", async () => (await keeper.said()).length === 2);
  await drained(side);
  assert.deepEqual([refused, await keeper.said()], [2, ["/1", "/2"]]);
});

test("beyond the bound the newest are kept, and how many went is in the record, and in both logs", async (t) => {
  const keeper = new RecordKeeper(t);
  await keeper.start();
  const side = await startSide(t, keeper, { capacity: 50 });
  side.write("/1");
  await until("it is recorded", async () => (await keeper.said()).length === 1);
  keeper.kill();
  for (let at = 2; at <= 1_001; at++) side.write(`/${at}`);
  await until("all are at the agent", () => side.relay.status.lost === 950);
  assert.deepEqual(side.relay.status, { waiting: 50, lost: 950 });
  await keeper.start();
  await drained(side);
  side.write("/1002");
  await until("what is new is recorded", async () => (await keeper.said()).at(-1) === "/1002");
  assert.deepEqual(await keeper.said(), ["/1", "950 records", ...paths(952, 1_002)]);
  const errors = side.logger.lines.filter(({ level }) => level === "error").map(({ message, fields }) => [message, fields]);
  assert.deepEqual(errors, [
    ["Envoy's oldest records are dropped: the control plane does not take them", { kept: 50 }],
    ["Envoy's records were lost while the control plane was away, and it has been told", { lost: 950 }],
  ]);
  const told = keeper.opened.logger.lines.filter(({ message }) => message.startsWith("audit records are lost"));
  assert.deepEqual(
    told.map(({ fields }) => fields),
    [{ workload: WORKLOAD, lost: 950 }],
  );
});

test("an agent that ends waits for the last to be taken in, and not for ever", async (t) => {
  const keeper = new RecordKeeper(t);
  await keeper.start();
  const side = await startSide(t, keeper);
  side.write(...paths(1, 100));
  await until("it is at the agent", async () => side.relay.status.waiting > 0 || (await keeper.said()).length > 0);
  await side.relay.finish();
  assert.deepEqual(await keeper.said(), paths(1, 100));

  const other = await startSide(t, keeper);
  keeper.kill();
  other.write("/101");
  await until("it is at the agent", () => other.relay.status.waiting === 1);
  await other.relay.finish(50);
  assert.deepEqual(other.logger.lines.find(({ level }) => level === "error")?.fields, { lost: 1 });
});

test("an entry that cannot be read is counted and stops no other", async (t) => {
  const keeper = new RecordKeeper(t);
  await keeper.start();
  const side = await startSide(t, keeper);
  const broken = Buffer.from([0x0a, 0x03, 0x12, 0x7f, 0x01]);
  side.relay.take({ log: "inbound_8080", kind: "http", entries: broken, count: 1 });
  side.write("/1");
  await drained(side);
  await until("the other is recorded", async () => (await keeper.said()).length === 1);
  assert.ok(keeper.opened.logger.messages.includes("warn: audit entries were malformed or too many, and are dropped"));
});
