import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { credentials, Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { DecisionLog, type ReportRequest, type ReportResponse, ReportResponseSchema } from "../gen/garrison/v1/proxy_pb.js";
import { serviceDefinition } from "../rpc/service.ts";
import { DecisionReporter } from "./decision-reporter.ts";
import type { RecordInit } from "./record.ts";

/** A control plane that notes what it is told, and can go away and come back at the same address. */
class FakeIntake {
  readonly address: string;
  readonly paths: string[] = [];
  readonly nodes: string[] = [];
  /** The name and the numbers of each message: the first, how many, and how many are lost before it. */
  readonly numbers: string[] = [];
  acknowledge = true;
  #server: Server | undefined;
  readonly #watchers = new Set<() => void>();

  constructor(folder: string) {
    this.address = `unix:${join(folder, "intake.sock")}`;
  }

  async start(): Promise<void> {
    const server = new Server();
    server.addService(serviceDefinition(DecisionLog), {
      Report: (call: ServerDuplexStream<ReportRequest, ReportResponse>) => this.#serve(call),
    });
    await new Promise((resolve, reject) => {
      server.bindAsync(this.address, ServerCredentials.createInsecure(), (error) => (error === null ? resolve(undefined) : reject(error)));
    });
    this.#server = server;
  }

  stop(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
  }

  /** The paths in the order of their arrival, when there are that many. */
  async received(count: number): Promise<readonly string[]> {
    for (;;) {
      if (this.paths.length >= count) return this.paths;
      await new Promise<void>((resolve) => {
        this.#watchers.add(resolve);
      });
    }
  }

  #serve(call: ServerDuplexStream<ReportRequest, ReportResponse>): void {
    let accepted = 0;
    let name = "";
    call.on("data", ({ node, records, run, first, lost }: ReportRequest) => {
      if (run !== "") name = run;
      else this.numbers.push(`${name} ${first} ${records.length} ${lost}`);
      if (node !== undefined) this.nodes.push(node.id);
      this.paths.push(...records.map(({ path }) => path));
      accepted += records.length;
      if (this.acknowledge) call.write(create(ReportResponseSchema, { accepted: BigInt(accepted) }));
      for (const watcher of this.#watchers) watcher();
      this.#watchers.clear();
    });
    call.on("end", () => call.end());
    call.on("error", () => undefined);
  }
}

let folder: string;
let intake: FakeIntake;
let logger: RecordingLogger;
let reporter: DecisionReporter;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "gp-"));
  intake = new FakeIntake(folder);
  logger = new RecordingLogger();
});
afterEach(async () => {
  await reporter.stop();
  intake.stop();
  rmSync(folder, { recursive: true });
});

function report(capacity?: number): DecisionReporter {
  const node = { id: "sidecar~127.0.0.1~a.b~b.svc.cluster.local", cluster: "a.b", metadata: {} };
  reporter = new DecisionReporter({
    address: intake.address,
    credentials: credentials.createInsecure(),
    node,
    logger,
    ...(capacity === undefined ? {} : { capacity }),
  });
  return reporter;
}

const numbered = (index: number): RecordInit => ({ protocol: "http", path: `/${index}`, effect: "allow", origin: "no-policy" });
const paths = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => `/${from + index}`);

test("records arrive in their order, after the node that sends them", async () => {
  await intake.start();
  report();
  for (let index = 0; index < 1_000; index++) reporter.record(numbered(index));
  assert.deepEqual(await intake.received(1_000), paths(0, 1_000));
  assert.deepEqual(intake.nodes, ["sidecar~127.0.0.1~a.b~b.svc.cluster.local"]);
});

test("records with long texts arrive too, in messages that gRPC takes", async () => {
  await intake.start();
  report();
  const long = Array.from({ length: 400 }, (_, index) => `/${index}/${"a".repeat(60_000)}`);
  for (const path of long) reporter.record({ ...numbered(0), path });
  assert.deepEqual(await intake.received(400), long);
});

test("records wait for a control plane that is away, and none is lost", async () => {
  report();
  for (let index = 0; index < 300; index++) reporter.record(numbered(index));
  await logger.line("decision records wait for the control plane");
  await intake.start();
  assert.deepEqual(await intake.received(300), paths(0, 300));
});

test("what a control plane had not acknowledged when it went away is told to the next one", async () => {
  await intake.start();
  report();
  reporter.record(numbered(0));
  await intake.received(1);
  intake.acknowledge = false;
  reporter.record(numbered(1));
  await intake.received(2);
  intake.stop();
  await logger.line("decision records wait for the control plane");
  intake.acknowledge = true;
  intake.paths.length = 0;
  reporter.record(numbered(2));
  await intake.start();
  assert.deepEqual((await intake.received(2)).toSorted(), ["/1", "/2"]);
});

test("of more than it may keep the oldest are dropped, and the log says so and how many", async () => {
  report(100);
  for (let index = 0; index < 250; index++) reporter.record(numbered(index));
  await intake.start();
  assert.deepEqual(await intake.received(100), paths(150, 250));
  const lost = await logger.line("decision records were lost while the control plane was away");
  assert.deepEqual([lost.level, lost.fields.lost], ["warn", 150]);
  assert.equal(logger.messages.filter((line) => line.includes("are dropped")).length, 1);
});

test("what is told again has the numbers that it had, and the number of those that were dropped between", async () => {
  await intake.start();
  report(3);
  reporter.record(numbered(1));
  await intake.received(1);
  intake.acknowledge = false;
  reporter.record(numbered(2));
  await intake.received(2);
  intake.stop();
  await logger.line("decision records wait for the control plane");
  for (let index = 3; index <= 6; index++) reporter.record(numbered(index));
  intake.acknowledge = true;
  await intake.start();
  await intake.received(5);
  const names = new Set(intake.numbers.map((line) => line.split(" ")[0]));
  assert.equal(names.size, 1);
  assert.deepEqual(
    intake.numbers.map((line) => line.replace(/^[0-9a-f-]{36} /, "")),
    ["1 1 0", "2 1 0", "4 3 2"],
  );
});

test("a stop sends what is left", async () => {
  await intake.start();
  report();
  reporter.record(numbered(0));
  await intake.received(1);
  reporter.record(numbered(1));
  await reporter.stop();
  assert.deepEqual(intake.paths, ["/0", "/1"]);
});
