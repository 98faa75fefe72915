import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Client, type ClientDuplexStream, type ServiceError, status } from "@grpc/grpc-js";
import { collect, NOON, openTestStore, sampleRecord, type TestStore } from "../../test/fixture/audit-store.ts";
import { startGrpcServer, type TestServer } from "../../test/fixture/grpc-server.ts";
import { admitReporter, eventually, REPORTER_IDENTITY, REPORTER_NODE } from "../../test/fixture/reporter.ts";
import {
  DecisionLog,
  DecisionRecordSchema,
  type ReportRequest,
  ReportRequestSchema,
  type ReportResponse,
} from "../gen/garrison/v1/proxy_pb.js";
import { methodDefinition, serviceDefinition } from "../rpc/service.ts";
import { createDecisionLogIntake, type DecisionLogIntake, fromDecisionRecord } from "./decision-log-intake.ts";
import type { IntakeOptions } from "./reporting-stream.ts";

const DECISION = {
  timeMs: BigInt(NOON),
  caller: "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend",
  sourceIp: "127.0.0.1",
  service: "photo-ns/photo-backend",
  protocol: "http",
  method: "GET",
  path: "/photos/1",
  host: "photo-backend",
  port: 17443,
  status: 200,
  bytesSent: 12n,
  effect: "allow",
  origin: "photo-ns/backend[0]",
  durationUs: 1500n,
  tls: "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768",
} as const satisfies MessageInitShape<typeof DecisionRecordSchema>;

type Report = ClientDuplexStream<ReportRequest, ReportResponse>;

interface Intake extends TestStore {
  readonly intake: DecisionLogIntake;
  readonly server: TestServer;
}

async function startIntake(t: TestContext, options: Partial<IntakeOptions> = {}): Promise<Intake> {
  const opened = openTestStore(t);
  const { store, clock, logger } = opened;
  const intake = createDecisionLogIntake({ store, serviceOf: (workload) => workload, admit: admitReporter, clock, logger, ...options });
  const server = await startGrpcServer(t, serviceDefinition(DecisionLog), intake.implementation, REPORTER_IDENTITY);
  return { ...opened, intake, server };
}

function report(client: Client): Report {
  const { path, requestSerialize, responseDeserialize } = methodDefinition(DecisionLog.method.report);
  const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
  // Streams that are still open when a test ends are cut off.
  return stream.on("error", () => undefined);
}

function request(
  records: MessageInitShape<typeof DecisionRecordSchema>[],
  node: MessageInitShape<typeof ReportRequestSchema>["node"] = REPORTER_NODE,
): ReportRequest {
  return create(ReportRequestSchema, { records, ...(node === undefined ? {} : { node }) });
}

async function accepted(stream: Report): Promise<bigint> {
  const [response] = (await once(stream, "data")) as [ReportResponse];
  return response.accepted;
}

async function failure(stream: Report): Promise<ServiceError> {
  stream.resume();
  const [error] = (await once(stream, "error")) as [ServiceError];
  return error;
}

test("what a proxy reports is recorded under its own workload and acknowledged", async (t) => {
  const { server, store } = await startIntake(t);
  const stream = report(server.client("verified"));
  stream.write(request([{ ...DECISION, audit: ["photo-ns/watch[0]"] }]));
  assert.equal(await accepted(stream), 1n);
  stream.write(create(ReportRequestSchema, { records: [{ ...DECISION, effect: "deny", origin: "default", path: "/x?token=secret#y" }] }));
  assert.equal(await accepted(stream), 2n);
  const tried = { dryRun: "deny", dryRunOrigin: "photo-ns/new[0]" } as const;
  stream.write(
    create(ReportRequestSchema, {
      records: [
        { ...DECISION, ...tried },
        { ...DECISION, ...tried, dryRunOrigin: "\n", tls: "\n" },
      ],
    }),
  );
  assert.equal(await accepted(stream), 4n);
  const expected = { ...sampleRecord(), reporter: "embedded" };
  assert.deepEqual(await collect(store.query({}), (record) => record), [
    { ...expected, id: 1, audit: ["photo-ns/watch[0]"] },
    { ...expected, id: 2, effect: "deny", origin: "default", path: "/x" },
    { ...expected, id: 3, ...tried },
    { ...expected, id: 4, tls: "" },
  ]);
});

test("what a proxy reports once more under its numbers is acknowledged, and recorded once", async (t) => {
  const { server, store } = await startIntake(t);
  const numbered = (first: number, path: string) => create(ReportRequestSchema, { first: BigInt(first), records: [{ ...DECISION, path }] });
  const hello = create(ReportRequestSchema, { node: REPORTER_NODE, run: "a-run" });
  const before = report(server.client("verified"));
  before.write(hello);
  before.write(numbered(1, "/1"));
  assert.equal(await accepted(before), 1n);
  const after = report(server.client("verified"));
  after.write(hello);
  after.write(numbered(1, "/1"));
  assert.equal(await accepted(after), 1n);
  after.write(numbered(2, "/2"));
  assert.equal(await accepted(after), 2n);
  assert.deepEqual(await collect(store.query({}), ({ path }) => path), ["/1", "/2"]);
});

for (const [what, numbers] of [
  ["begin before 1", { first: 0n }],
  ["end beyond what can be counted", { first: 2n ** 53n }],
  ["have lost more than there were", { first: 5n, lost: 5n }],
] as const) {
  test(`numbers that ${what} end the stream, and nothing is recorded`, async (t) => {
    const { server, store } = await startIntake(t);
    const stream = report(server.client("verified"));
    stream.write(create(ReportRequestSchema, { node: REPORTER_NODE, run: "a-run", records: [DECISION], ...numbers }));
    assert.equal((await failure(stream)).code, status.INVALID_ARGUMENT);
    assert.equal(store.stats().records, 0);
  });
}

test("a run's name is bounded", async (t) => {
  const { server } = await startIntake(t);
  const stream = report(server.client("verified"));
  stream.write(create(ReportRequestSchema, { node: REPORTER_NODE, run: "x".repeat(65), first: 1n, records: [DECISION] }));
  assert.equal((await failure(stream)).code, status.INVALID_ARGUMENT);
});

test("a proxy cannot report that records are lost but by their number", async (t) => {
  const { server, store, intake } = await startIntake(t);
  const stream = report(server.client("verified"));
  stream.write(request([{ ...DECISION, effect: "lost", origin: "" }]));
  stream.write(request([DECISION]));
  assert.equal(await accepted(stream), 1n);
  assert.deepEqual([store.stats().records, intake.stats().rejected], [1, 1]);
});

test("admission sees the DER of a verified certificate and what the node says", async (t) => {
  const seen: unknown[] = [];
  const { server } = await startIntake(t, {
    admit: (auth, node) => {
      seen.push(auth.peerCertificate === undefined ? undefined : Buffer.from(auth.peerCertificate), node);
      return admitReporter(auth, node);
    },
  });
  const stream = report(server.client("verified"));
  stream.write(request([DECISION]));
  await accepted(stream);
  assert.deepEqual(seen, [Buffer.from(server.certificate), REPORTER_NODE]);
});

for (const kind of ["none", "foreign"] as const) {
  test(`a client whose certificate is ${kind} reports nothing`, async (t) => {
    const { server, store, intake, logger } = await startIntake(t);
    const stream = report(server.client(kind));
    stream.write(request([DECISION]));
    const { code, details } = await failure(stream);
    assert.deepEqual([code, details], [status.UNAUTHENTICATED, "a certificate is needed"]);
    assert.deepEqual(store.stats().appended, 0);
    await eventually(() => intake.stats().streams === 0);
    assert.deepEqual(logger.messages, ["warn: a stream of audit records is refused"]);
  });
}

test("a stream that does not say from which node it comes is refused", async (t) => {
  const { server } = await startIntake(t);
  const stream = report(server.client("verified"));
  stream.write(create(ReportRequestSchema, { records: [DECISION] }));
  assert.equal((await failure(stream)).code, status.INVALID_ARGUMENT);
});

test("an admission that fails inside is told as an internal error without its words", async (t) => {
  const { server } = await startIntake(t, {
    admit: () => {
      throw new TypeError("secret detail");
    },
  });
  const stream = report(server.client("verified"));
  stream.write(request([DECISION]));
  const { code, details } = await failure(stream);
  assert.deepEqual([code, details], [status.INTERNAL, "internal error"]);
});

test("a stream ends with the certificate that it was opened with", async (t) => {
  const { server, clock, store } = await startIntake(t);
  const stream = report(server.client("verified"));
  stream.write(request([DECISION]));
  await accepted(stream);
  clock.time += 3_600_000;
  stream.write(request([DECISION]));
  assert.equal((await failure(stream)).code, status.UNAUTHENTICATED);
  store.flush();
  assert.equal(store.stats().appended, 1);
});

test("streams are bounded for each workload, and a stream that ends makes room", async (t) => {
  const { server, intake } = await startIntake(t, { limits: { streamsPerWorkload: 1 } });
  const client = server.client("verified");
  const first = report(client);
  first.write(request([DECISION]));
  await accepted(first);
  const second = report(client);
  second.write(request([DECISION]));
  assert.equal((await failure(second)).code, status.RESOURCE_EXHAUSTED);
  const other = report(client);
  other.write(request([DECISION], { ...REPORTER_NODE, metadata: { ...REPORTER_NODE.metadata, WORKLOAD_NAME: "datastore" } }));
  assert.equal(await accepted(other), 1n);
  first.on("error", () => undefined).cancel();
  await eventually(() => intake.stats().streams === 1);
  const third = report(client);
  third.write(request([DECISION]));
  assert.equal(await accepted(third), 1n);
});

test("streams are bounded in all", async (t) => {
  const { server } = await startIntake(t, { limits: { streams: 1 } });
  const client = server.client("verified");
  const first = report(client);
  first.write(request([DECISION]));
  await accepted(first);
  assert.equal((await failure(report(client))).code, status.RESOURCE_EXHAUSTED);
});

test("a stream without a first message is ended and frees its place", async (t) => {
  const { server, intake } = await startIntake(t, { limits: { firstMessageMs: 50 } });
  assert.equal((await failure(report(server.client("verified")))).code, status.DEADLINE_EXCEEDED);
  await eventually(() => intake.stats().streams === 0);
});

test("bytes that are no message end the stream and free its place", async (t) => {
  const { server, intake } = await startIntake(t);
  const { path, responseDeserialize } = methodDefinition(DecisionLog.method.report);
  const stream = server.client("verified").makeBidiStreamRequest(path, (bytes: Buffer) => bytes, responseDeserialize);
  stream.write(Buffer.from("0affffffffffff", "hex"));
  stream.resume();
  const [error] = (await once(stream, "error")) as [ServiceError];
  assert.equal(error.code, status.INTERNAL);
  await eventually(() => intake.stats().streams === 0);
});

test("entries that are no decisions, or too many in a message, are dropped and counted, and the others are kept", async (t) => {
  const { server, intake, logger, store } = await startIntake(t, { limits: { recordsPerMessage: 3 } });
  const stream = report(server.client("verified"));
  stream.write(request([DECISION, { ...DECISION, effect: "maybe" }, DECISION, DECISION, DECISION]));
  assert.equal(await accepted(stream), 2n);
  assert.deepEqual(intake.stats(), { streams: 1, records: 2, rejected: 3 });
  assert.deepEqual(logger.lines[0]?.fields, { workload: "photo-ns/photo-backend", rejected: 3 });
  store.flush();
  assert.equal(store.stats().appended, 2);
});

test("a client that never reads is served to its end and gets the last count", async (t) => {
  const { server, store } = await startIntake(t);
  const stream = report(server.client("verified"));
  for (let at = 0; at < 2000; at++) stream.write(request([DECISION]));
  stream.end();
  await eventually(() => store.stats().appended === 2000);
  let last = 0n;
  for await (const { accepted: count } of stream as AsyncIterable<ReportResponse>) last = count;
  assert.equal(last, 2000n);
});

for (const [what, other] of [
  ["an unknown effect", { effect: "ALLOW" }],
  ["an unknown protocol", { protocol: "udp" }],
  ["a decision without origin", { origin: "" }],
  ["an origin of another form", { origin: "photo-ns/backend[0]\nphoto-ns/x[1]" }],
  ["a refusal with an origin", { effect: "refused" }],
  ["a service that is no name", { service: "photo-backend" }],
] as const) {
  test(`a report with ${what} is no record`, () => {
    assert.equal(fromDecisionRecord(create(DecisionRecordSchema, { ...DECISION, ...other }), "photo-ns/photo-backend"), undefined);
  });
}

test("a refused handshake has no origin and keeps its reason", () => {
  const record = fromDecisionRecord(
    create(DecisionRecordSchema, { timeMs: 1n, protocol: "tcp", effect: "refused", detail: "certificate expired" }),
    "a/b",
  );
  assert.deepEqual([record?.effect, record?.origin, record?.detail, record?.workload], ["refused", "", "certificate expired", "a/b"]);
});
