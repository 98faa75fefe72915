import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { type Client, status } from "@grpc/grpc-js";
import { until } from "../../../test/fakes/processes.ts";
import { RecordingLogger } from "../../../test/fakes/recording-logger.ts";
import { AgentStream } from "../../../test/fixture/agent-stream.ts";
import { makeIssuer, startGrpcServer } from "../../../test/fixture/grpc-server.ts";
import { NamesClient } from "../../agent/dns/names-client.ts";
import { systemTimers } from "../../agent/timers.ts";
import type { NameTable } from "../../compile/names.ts";
import { AppError } from "../../core/error.ts";
import { silentLogger } from "../../core/logger.ts";
import {
  type NamesReportSchema,
  type NamesUpdateSchema,
  type NameTableChange,
  NameTableChangeSchema,
  NameTables,
} from "../../gen/garrison/v1/names_pb.js";
import { serviceDefinition } from "../../rpc/service.ts";
import { changeTo, versionOf } from "./name-changes.ts";
import { NamesService } from "./names-service.ts";

const CONTROL_PLANE = "spiffe://cluster.local/ns/istio-system/sa/garrison";
const IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart";
const WORKLOAD = "shop/cart";
const issuer = makeIssuer();

const tableOf = (names: NameTable["names"]): NameTable => ({ domain: "cluster.local", closed: true, names });
const FIRST = tableOf({ "a.example": ["10.0.0.1"], "b.example": ["10.0.0.2"], "c.example": [] });
const SECOND = tableOf({ "a.example": ["10.0.0.1"], "b.example": ["10.0.0.3"], "d.example": ["10.0.0.4"] });

class NamesStream extends AgentStream<typeof NamesReportSchema, typeof NamesUpdateSchema> {
  constructor(client: Client) {
    super(client, NameTables.method.follow);
  }

  async change(number: number): Promise<{ readonly nonce: string; readonly change: NameTableChange }> {
    const { nonce, change } = await this.update(number);
    return { nonce, change: fromBinary(NameTableChangeSchema, change) };
  }
}

const namesIn = ({ names }: NameTableChange) => Object.fromEntries(names.map(({ host, addresses }) => [host, addresses]));

/** A service over TLS; `table` and `now` may be set while it runs. */
async function serve(t: TestContext, at?: string) {
  const world: { table: NameTable | undefined; now: number } = { table: FIRST, now: 1_000 };
  const service = new NamesService({
    tableOf: () => world.table,
    admit: (certificate, workload) => {
      if (certificate === undefined) throw new AppError("unauthenticated", "no certificate");
      if (workload !== WORKLOAD) throw new AppError("permission-denied", "another's workload");
      return { workload, identity: IDENTITY, expiresAt: 100_000 };
    },
    clock: { now: () => world.now },
    logger: silentLogger,
  });
  const own = at === undefined ? { issuer } : { issuer, at };
  const server = await startGrpcServer(t, serviceDefinition(NameTables), service.implementation, IDENTITY, own);
  const kill = () => {
    service.close();
    server.stop();
  };
  t.after(kill);
  const open = (kind: "verified" | "none" = "verified") => new NamesStream(server.client(kind));
  return { world, service, open, server, kill };
}

test("an agent is told all names at once, then what changes, one update at a time", async (t) => {
  const { world, service, open } = await serve(t);
  const agent = open();
  agent.say({ workload: WORKLOAD });
  const { nonce, change } = await agent.change(1);
  assert.deepEqual([change.whole, change.domain, change.closed, change.version], [true, "cluster.local", true, versionOf(FIRST)]);
  assert.deepEqual(namesIn(change), FIRST.names);
  world.table = tableOf({});
  service.publish();
  world.table = SECOND;
  service.publish();
  agent.say({ version: change.version, nonce });
  const next = await agent.change(2);
  assert.deepEqual([next.change.whole, next.change.version], [false, versionOf(SECOND)]);
  assert.deepEqual(namesIn(next.change), { "b.example": ["10.0.0.3"], "d.example": ["10.0.0.4"] });
  assert.deepEqual(next.change.removed, ["c.example"]);
  agent.say({ version: next.change.version, nonce: next.nonce });
  world.table = tableOf({ ...SECOND.names });
  service.publish();
  world.table = FIRST;
  service.publish();
  assert.deepEqual(namesIn((await agent.change(3)).change), { "b.example": ["10.0.0.2"], "c.example": [] });
  assert.equal(agent.updates.length, 3);
});

test("an agent that comes back with the newest names is sent nothing until they change", async (t) => {
  const { world, service, open } = await serve(t);
  const agent = open();
  agent.say({ workload: WORKLOAD, version: versionOf(tableOf({ ...FIRST.names })) });
  const other = open();
  other.say({ workload: WORKLOAD, version: "of long ago" });
  assert.equal((await other.change(1)).change.whole, true);
  assert.deepEqual(agent.updates, []);
  world.table = SECOND;
  service.publish();
  const { change } = await agent.change(1);
  assert.deepEqual([change.whole, change.names.length], [false, 2]);
});

test("what is the same for several agents is encoded once", () => {
  assert.equal(changeTo(FIRST, undefined), changeTo(FIRST, undefined));
  assert.equal(changeTo(SECOND, FIRST), changeTo(SECOND, FIRST));
  assert.notEqual(versionOf(FIRST), versionOf(SECOND));
  assert.notEqual(versionOf(FIRST), versionOf({ ...FIRST, closed: false }));
});

test("nobody follows names without a certificate, or for another's workload, or for longer than the certificate is valid", async (t) => {
  const { world, open } = await serve(t);
  const [nobody, other, own] = [open("none"), open(), open()];
  nobody.say({ workload: WORKLOAD });
  assert.equal((await nobody.ended).code, status.UNAUTHENTICATED);
  other.say({ workload: "shop/other" });
  assert.equal((await other.ended).code, status.PERMISSION_DENIED);
  own.say({ workload: WORKLOAD });
  await own.change(1);
  world.now = 100_000;
  assert.equal((await own.ended).code, status.UNAUTHENTICATED);
});

test("of five agents of one workload the oldest is sent away, and one that talks without end too", async (t) => {
  const { open } = await serve(t);
  const agents = [1, 2, 3, 4, 5].map(() => open());
  for (const agent of agents) {
    agent.say({ workload: WORKLOAD });
    await agent.change(1);
  }
  const [oldest, ...others] = agents;
  assert.equal((await oldest?.ended)?.code, status.RESOURCE_EXHAUSTED);
  const [talker] = others;
  for (let count = 0; count < 300; count++) talker?.say({ nonce: "x" });
  assert.equal((await talker?.ended)?.code, status.RESOURCE_EXHAUSTED);
});

test("an agent keeps the names that it has while the control plane is away, and follows again when it is back", async (t) => {
  const first = await serve(t);
  const folder = mkdtempSync(join(tmpdir(), "garrison-names-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const { key, chain, roots } = first.server.material;
  writeFileSync(join(folder, "root-cert.pem"), roots);
  const certificate = {
    privateKey: createPrivateKey(key),
    chain,
    roots,
    identity: IDENTITY,
    serial: "1",
    notBefore: 0,
    notAfter: 0,
  };
  const logger = new RecordingLogger();
  const client = new NamesClient({
    workload: WORKLOAD,
    controlPlane: { address: "127.0.0.1", port: Number(first.server.address.split(":")[1]), identity: CONTROL_PLANE },
    rootCertificateFile: join(folder, "root-cert.pem"),
    certificate: () => certificate,
    timers: systemTimers,
    random: () => 0,
    logger,
  });
  t.after(() => client.close());
  assert.deepEqual([client.table], [undefined]);
  client.start();
  await client.had;
  assert.deepEqual(client.table?.lookup("b.example", "shop", []), ["10.0.0.2"]);
  first.world.table = SECOND;
  first.service.publish();
  await until("the change is taken", () => client.table?.version === versionOf(SECOND));
  assert.equal(client.table?.lookup("c.example", "shop", []), undefined);
  first.kill();
  await until("the stream is lost", () => !client.connected);
  assert.deepEqual(client.table?.lookup("d.example", "shop", []), ["10.0.0.4"]);
  const second = await serve(t, first.server.address);
  second.world.table = tableOf({ "e.example": ["10.0.0.5"] });
  await until("the newest names are there", () => client.table?.lookup("e.example", "shop", []) !== undefined);
  assert.equal(client.table?.size, 1);
});
