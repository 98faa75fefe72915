import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { create, fromJson, type JsonValue, type MessageInitShape } from "@bufbuild/protobuf";
import { type Client, type ClientWritableStream, type ServiceError, status } from "@grpc/grpc-js";
import { collect, openTestStore, type TestStore } from "../../test/fixture/audit-store.ts";
import { startGrpcServer, type TestServer } from "../../test/fixture/grpc-server.ts";
import { admitReporter, eventually, REPORTER_IDENTITY, REPORTER_NODE } from "../../test/fixture/reporter.ts";
import { HTTPAccessLogEntrySchema, TCPAccessLogEntrySchema } from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import { AccessLogService, type StreamAccessLogsMessage, StreamAccessLogsMessageSchema } from "../gen/envoy/service/accesslog/v3/als_pb.js";
import { methodDefinition, serviceDefinition } from "../rpc/service.ts";
import { type AlsIntake, type AlsIntakeOptions, createAlsIntake } from "./als-intake.ts";

const FOLDER = new URL("../../test/golden/als/", import.meta.url);

interface Golden {
  readonly log: string;
  readonly kind: "http" | "tcp";
  readonly entry: JsonValue;
}

const golden = (name: string) => JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), "utf8")) as Golden;

interface Intake extends TestStore {
  readonly intake: AlsIntake;
  readonly server: TestServer;
}

async function startIntake(t: TestContext, options: Partial<AlsIntakeOptions> = {}): Promise<Intake> {
  const opened = openTestStore(t);
  const { store, clock, logger } = opened;
  const serviceOf = (workload: string, listener: string) => (listener === "inbound_8080" ? workload : "");
  const intake = createAlsIntake({ store, admit: admitReporter, serviceOf, clock, logger, ...options });
  const server = await startGrpcServer(t, serviceDefinition(AccessLogService), intake.implementation, REPORTER_IDENTITY);
  return { ...opened, intake, server };
}

interface Sending {
  readonly stream: ClientWritableStream<StreamAccessLogsMessage>;
  /** How the stream ended. */
  readonly ended: Promise<ServiceError | undefined>;
}

/** A stream as an Envoy opens it. */
function open(client: Client): Sending {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(AccessLogService.method.streamAccessLogs);
  const { promise: ended, resolve } = Promise.withResolvers<ServiceError | undefined>();
  const stream = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, (error) => resolve(error ?? undefined));
  stream.on("error", () => undefined);
  return { stream, ended };
}

/** A message with the entries, and, where a log is named, with the identifier that the first message has. */
function message(kind: Golden["kind"], entries: readonly JsonValue[], logName?: string): StreamAccessLogsMessage {
  const identifier: MessageInitShape<typeof StreamAccessLogsMessageSchema> =
    logName === undefined ? {} : { identifier: { node: REPORTER_NODE, logName } };
  if (kind === "http") {
    const logEntry = entries.map((entry) => fromJson(HTTPAccessLogEntrySchema, entry));
    return create(StreamAccessLogsMessageSchema, { ...identifier, logEntries: { case: "httpLogs", value: { logEntry } } });
  }
  const logEntry = entries.map((entry) => fromJson(TCPAccessLogEntrySchema, entry));
  return create(StreamAccessLogsMessageSchema, { ...identifier, logEntries: { case: "tcpLogs", value: { logEntry } } });
}

function first({ log, kind, entry }: Golden): StreamAccessLogsMessage {
  return message(kind, [entry], log);
}

test("all that a real Envoy has sent becomes records, and the ends of connections complete theirs", async (t) => {
  const { server, store } = await startIntake(t);
  const client = server.client("verified");
  const names = readdirSync(FOLDER)
    .map((file) => file.replace(".json", ""))
    .toSorted();
  for (const name of names) {
    const { stream, ended } = open(client);
    stream.write(first(golden(name)));
    stream.end();
    assert.equal(await ended, undefined);
  }
  const records = await collect(store.query({}), (record) => record);
  assert.equal(records.length, names.filter((name) => !name.endsWith("-end")).length);
  assert.deepEqual(new Set(records.map(({ workload, reporter }) => `${reporter} ${workload}`)), new Set(["envoy photo-ns/photo-backend"]));
  const completed = records.filter(
    ({ protocol, durationMicros, bytesSent }) => protocol === "tcp" && durationMicros > 0 && bytesSent === 7,
  );
  assert.equal(completed.length, 2);
});

test("the log of a stream is named once, in its first message", async (t) => {
  const { server, store } = await startIntake(t);
  const { stream, ended } = open(server.client("verified"));
  const { log, kind, entry } = golden("http-allow-rule");
  stream.write(message(kind, [entry], log));
  stream.write(message(kind, [entry, entry]));
  stream.end();
  assert.equal(await ended, undefined);
  assert.deepEqual(await collect(store.query({}), ({ service }) => service), [
    "photo-ns/photo-backend",
    "photo-ns/photo-backend",
    "photo-ns/photo-backend",
  ]);
});

test("the end of a connection changes nothing that another workload has reported", async (t) => {
  const { server, store } = await startIntake(t);
  const client = server.client("verified");
  const opened = open(client);
  opened.stream.write(first(golden("tcp-allow-rule-connected")));
  await eventually(() => store.stats().appended === 1);
  const other = open(client);
  const { log, kind, entry } = golden("tcp-allow-rule-end");
  const forged = message(kind, [entry], log);
  if (forged.identifier?.node !== undefined) forged.identifier.node.metadata = { NAMESPACE: "photo-ns", WORKLOAD_NAME: "other" };
  other.stream.write(forged);
  other.stream.end();
  assert.equal(await other.ended, undefined);
  assert.deepEqual(await collect(store.query({}), ({ bytesSent, durationMicros }) => [bytesSent, durationMicros]), [[0, 0]]);
  opened.stream.write(message(kind, [entry]));
  opened.stream.end();
  assert.equal(await opened.ended, undefined);
  assert.deepEqual(await collect(store.query({}), ({ bytesSent }) => bytesSent), [7]);
});

for (const kind of ["none", "foreign"] as const) {
  test(`an Envoy whose certificate is ${kind} reports nothing`, async (t) => {
    const { server, store, intake } = await startIntake(t);
    const { stream, ended } = open(server.client(kind));
    stream.write(first(golden("http-allow-rule")));
    assert.equal((await ended)?.code, status.UNAUTHENTICATED);
    await eventually(() => intake.stats().streams === 0);
    assert.equal(store.stats().appended, 0);
  });
}

test("a stream without an identifier is refused", async (t) => {
  const { server } = await startIntake(t);
  const { stream, ended } = open(server.client("verified"));
  const { kind, entry } = golden("http-allow-rule");
  stream.write(message(kind, [entry]));
  assert.equal((await ended)?.code, status.INVALID_ARGUMENT);
});

test("more entries than allowed in one message are dropped and counted, and the stream goes on", async (t) => {
  const { server, store, intake } = await startIntake(t, { limits: { recordsPerMessage: 2 } });
  const { stream, ended } = open(server.client("verified"));
  const { log, kind, entry } = golden("http-allow-rule");
  stream.write(message(kind, [entry, entry, entry], log));
  stream.write(message(kind, [entry]));
  stream.end();
  assert.equal(await ended, undefined);
  store.flush();
  assert.equal(store.stats().appended, 3);
  assert.deepEqual(intake.stats(), { streams: 0, records: 3, rejected: 1 });
});

test("a stream with an empty message waits for the next", async (t) => {
  const { server, store } = await startIntake(t);
  const { stream, ended } = open(server.client("verified"));
  const { log, kind, entry } = golden("http-allow-rule");
  stream.write(create(StreamAccessLogsMessageSchema, { identifier: { node: REPORTER_NODE, logName: log } }));
  stream.write(message(kind, [entry]));
  stream.end();
  assert.equal(await ended, undefined);
  store.flush();
  assert.equal(store.stats().appended, 1);
});

test("an Envoy that dies frees its streams", async (t) => {
  const { server, intake } = await startIntake(t);
  const client = server.client("verified");
  const streams = Array.from({ length: 5 }, () => open(client).stream);
  for (const stream of streams) stream.write(first(golden("http-allow-rule")));
  await eventually(() => intake.stats().records === 5);
  client.close();
  for (const stream of streams) stream.cancel();
  await eventually(() => intake.stats().streams === 0);
});
