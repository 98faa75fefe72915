import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { type Client, status } from "@grpc/grpc-js";
import { until } from "../../../test/fakes/processes.ts";
import { AgentStream } from "../../../test/fixture/agent-stream.ts";
import { startGrpcServer } from "../../../test/fixture/grpc-server.ts";
import { SETTINGS } from "../../../test/fixture/objects.ts";
import { objectsOf } from "../../../test/fixture/yaml-mesh.ts";
import { AppError } from "../../core/error.ts";
import { silentLogger } from "../../core/logger.ts";
import {
  Health,
  type RegistrationReportSchema,
  type RegistrationSchema,
  WorkloadRegistration,
} from "../../gen/garrison/v1/registration_pb.js";
import { buildSnapshot, type MeshSnapshot } from "../../mesh/snapshot.ts";
import type { WorkloadEntryObject, WorkloadGroupObject } from "../../policy/model.ts";
import { serviceDefinition } from "../../rpc/service.ts";
import { type Member, type ReportedHealth, registeredEntry } from "./member.ts";
import { RegistrationService } from "./service.ts";
import type { EntryStore } from "./store.ts";

const WEB = "spiffe://cluster.local/ns/shop/sa/web";

const group = (period: number, account = "web"): string => `apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: shop }
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: web, namespace: shop, annotations: { garrison.dev/addresses: 10.0.0.0/8 } }
spec: { template: { serviceAccount: ${account} }, probe: { periodSeconds: ${period}, tcpSocket: { port: 1 } } }
`;

/** A mesh, and a store that puts members into it and notes what it is told. */
class World implements EntryStore {
  readonly told: string[] = [];
  readonly #members = new Map<string, WorkloadEntryObject>();
  snapshot: MeshSnapshot;
  now = 1_000;
  revoked = false;
  onChange = (): void => undefined;
  /** What the next member waits for. */
  hold: Promise<void> = Promise.resolve();
  /** The same objects until they are written again, as of every source. */
  #objects = objectsOf(group(7));

  constructor() {
    this.snapshot = this.#build();
  }

  write(yaml: string): void {
    this.#objects = objectsOf(yaml);
    this.#changed();
  }

  async connect(member: Member, of: WorkloadGroupObject): Promise<void> {
    this.told.push(`connect ${member.workload}`);
    await this.hold;
    this.#members.set(member.workload, registeredEntry(of, member, undefined));
    this.#changed();
  }

  async report({ name }: Member, { healthy, detail }: ReportedHealth): Promise<void> {
    this.told.push(`report ${name} ${healthy}${detail}`);
  }

  disconnect({ name }: Member): void {
    this.told.push(`disconnect ${name}`);
  }

  async leave({ name, workload }: Member): Promise<void> {
    this.told.push(`leave ${name}`);
    this.#members.delete(workload);
    this.#changed();
  }

  async close(): Promise<void> {
    this.told.push("close");
  }

  /** As if somebody had removed all entries. */
  clear(): void {
    this.#members.clear();
    this.#changed();
  }

  #build(): MeshSnapshot {
    return buildSnapshot(SETTINGS, [...this.#objects, ...this.#members.values()]);
  }

  #changed(): void {
    this.snapshot = this.#build();
    this.onChange();
  }
}

class Machine extends AgentStream<typeof RegistrationReportSchema, typeof RegistrationSchema> {
  constructor(client: Client) {
    super(client, WorkloadRegistration.method.register);
  }

  join(address = "10.0.0.1", name = "shop/web"): this {
    return this.say({ group: name, address });
  }

  /** How it ended, in words. */
  get end(): Promise<string> {
    return this.ended.then(({ code, details }) => `${status[code]}: ${details}`);
  }
}

async function serve(t: TestContext) {
  const world = new World();
  const service = new RegistrationService({
    store: world,
    snapshot: () => world.snapshot,
    callerOf: (certificate) => {
      if (certificate === undefined) throw new AppError("unauthenticated", "no certificate");
      return { identity: WEB, expiresAt: 100_000, serial: "5e" };
    },
    isRevoked: (serial) => world.revoked && serial === "5e",
    clock: { now: () => world.now },
    logger: silentLogger,
  });
  world.onChange = () => service.refresh();
  t.after(() => service.close());
  const implementation = { Register: service.register, DescribeGroup: () => undefined };
  const server = await startGrpcServer(t, serviceDefinition(WorkloadRegistration), implementation, WEB);
  const open = (kind: "verified" | "none" = "verified") => new Machine(server.client(kind));
  return { world, open, server };
}

describe("registering a machine", () => {
  it("tells it that it is a member once its entry is in force, with the probe, and again when the group is another", async (t) => {
    const { world, open } = await serve(t);
    const held = Promise.withResolvers<void>();
    world.hold = held.promise;
    const agent = open().join();
    await until("the store was asked", () => world.told.length === 1);
    assert.equal(agent.updates.length, 0);
    held.resolve();
    await agent.update(1);
    assert.deepEqual([agent.updates[0]?.workload, agent.updates[0]?.probe?.periodSeconds], ["shop/web-10.0.0.1", 7]);
    world.write(group(9));
    await agent.update(2);
    assert.equal(agent.updates.at(-1)?.probe?.periodSeconds, 9);
  });

  it("refuses who brings no certificate, is of no group, or has no address of its own", async (t) => {
    const { world, open } = await serve(t);
    assert.match(await open("none").join().end, /^UNAUTHENTICATED: no certificate/);
    assert.match(
      await open().join("10.0.0.1", "shop/none").end,
      /^PERMISSION_DENIED: .* is not the identity of a WorkloadGroup `shop\/none`/,
    );
    assert.match(await open().join("192.0.2.1").end, /^PERMISSION_DENIED: the connection comes from `127\.0\.0\.1`/);
    assert.match(await open().join("").end, /^INVALID_ARGUMENT/);
    assert.deepEqual(world.told, []);
  });

  it("passes on each change of health, in order, and nothing that was said before", async (t) => {
    const { world, open } = await serve(t);
    const agent = open().join();
    await agent.update(1);
    const say = (health: Health, detail = ""): Machine => agent.say({ health, detail });
    say(Health.HEALTHY);
    say(Health.HEALTHY);
    say(Health.UNKNOWN);
    say(Health.UNHEALTHY, " ill");
    say(Health.HEALTHY);
    await until("all was told", () => world.told.length === 4);
    assert.deepEqual(world.told.slice(1), ["report web-10.0.0.1 true", "report web-10.0.0.1 false ill", "report web-10.0.0.1 true"]);
  });

  it("forgets a machine at its last word, though it says nothing more and another thing is being done", async (t) => {
    const { world, open } = await serve(t);
    const agent = open().join();
    await agent.update(1);
    agent.say({ health: Health.HEALTHY }).say({ leaving: true }).finish();
    assert.equal((await agent.ended).code, status.OK);
    assert.deepEqual(world.told.slice(1, 3), ["report web-10.0.0.1 true", "leave web-10.0.0.1"]);
    assert.equal(world.snapshot.workloads.size, 0);
  });

  it("ends a stream whose client is done without a word", async (t) => {
    const { world, open } = await serve(t);
    const silent = open("none");
    silent.finish();
    assert.equal((await silent.ended).code, status.OK);
    assert.deepEqual(world.told, []);
  });

  it("keeps a machine for a while whose connection is cut", async (t) => {
    const { world, open } = await serve(t);
    const agent = open().join();
    await agent.update(1);
    agent.cut();
    await until("the store knows", () => world.told.includes("disconnect web-10.0.0.1"));
  });

  it("lets an agent that comes back take the place of its old connection", async (t) => {
    const { world, open } = await serve(t);
    const old = open().join();
    await old.update(1);
    const again = open().join();
    await again.update(1);
    assert.match(await old.end, /^ALREADY_EXISTS: another agent has registered with this address/);
    assert.equal(world.told.includes("disconnect web-10.0.0.1"), false);
  });

  it("ends what may be no more: another account, a revoked or expired certificate, an address that somebody else has, an entry that is gone", async (t) => {
    const { world, open } = await serve(t);
    const member = async (): Promise<Machine> => {
      const agent = open().join();
      await agent.update(1);
      return agent;
    };
    const first = await member();
    world.write(group(7, "other"));
    assert.match(await first.end, /^PERMISSION_DENIED: .* is not the identity of a WorkloadGroup/);
    world.write(group(7));
    const second = await member();
    world.revoked = true;
    world.write(group(7));
    assert.match(await second.end, /^UNAUTHENTICATED: the certificate is revoked/);
    world.revoked = false;
    const third = await member();
    world.write(
      `${group(7)}---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: db, namespace: shop }\nspec: { address: 10.0.0.1, serviceAccount: db }\n`,
    );
    assert.match(await third.end, /^ALREADY_EXISTS: the address `10\.0\.0\.1` is that of WorkloadEntry shop\/db/);
    world.write(group(7));
    const fourth = await member();
    world.clear();
    assert.match(await fourth.end, /^UNAVAILABLE: the WorkloadEntry `shop\/web-10\.0\.0\.1` was taken away/);
    const fifth = await member();
    world.now = 200_000;
    assert.match(await fifth.end, /^UNAUTHENTICATED: .* has expired/);
  });

  it("takes in all machines of a group that come together", async (t) => {
    const { world, server } = await serve(t);
    const client = server.client("verified");
    const machines = Array.from({ length: 400 }, (_, index) => new Machine(client).join(`10.1.${index >> 8}.${index & 255}`));
    for (const machine of machines) machine.say({ health: Health.HEALTHY });
    for (const machine of machines) await machine.update(1);
    await until("all are healthy", () => world.told.filter((each) => each.startsWith("report")).length === 400);
  });

  it("bounds how often one member may change, and how many may come", async (t) => {
    const { open } = await serve(t);
    const agent = open().join();
    await agent.update(1);
    for (let count = 0; count < 30; count += 1) agent.say({ health: count % 2 === 0 ? Health.HEALTHY : Health.UNHEALTHY });
    assert.match(await agent.end, /^RESOURCE_EXHAUSTED: more than 2 calls a second/);
  });
});
