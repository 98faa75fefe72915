import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { AgentStream } from "../../test/fixture/agent-stream.ts";
import { startGrpcServer } from "../../test/fixture/grpc-server.ts";
import { AppError } from "../core/error.ts";
import { silentLogger } from "../core/logger.ts";
import { TrustBundles } from "../gen/garrison/v1/trust_pb.js";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { serviceDefinition } from "../rpc/service.ts";
import { TrustService } from "./trust-service.ts";
import type { TrustState } from "./trust-state.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart";
const WORKLOAD = "shop/cart";

function stateOf(...roots: readonly string[]): TrustState {
  const bundle = { roots: roots.join(""), jwks: "", sequence: roots.length, refreshHintSeconds: 300 };
  return {
    bundles: new Map([[DEFAULT_TRUST_DOMAIN, bundle]]),
    roots: new Set(roots),
    tainted: new Set(),
    revocationLists: "",
  };
}

/** A service over TLS; `current` and `now` may be set while it runs. */
async function serve(t: TestContext) {
  const world = { current: stateOf("A"), now: 1_000, revoked: "" };
  const service = new TrustService({
    current: () => world.current,
    admit: (certificate, workload) => {
      if (certificate === undefined) throw new AppError("unauthenticated", "no certificate");
      if (workload !== WORKLOAD) throw new AppError("permission-denied", "another's workload");
      return { workload, identity: IDENTITY, expiresAt: 100_000 };
    },
    isRevoked: (serial) => serial === world.revoked,
    clock: { now: () => world.now },
    logger: silentLogger,
  });
  t.after(() => service.close());
  const server = await startGrpcServer(t, serviceDefinition(TrustBundles), service.implementation, IDENTITY);
  const open = (kind: "verified" | "none" = "verified") => new AgentStream(server.client(kind), TrustBundles.method.follow);
  return { world, service, open };
}

test("an agent is told the state at once, and counts as a holder of it when it has said so", async (t) => {
  const { world, service, open } = await serve(t);
  const agent = open();
  agent.say({ workload: WORKLOAD, serial: "5e", authority: "aa" });
  const { nonce, bundles } = await agent.update(1);
  assert.deepEqual(
    bundles.map(({ trustDomain, roots, sequence, refreshHintSeconds }) => ({ trustDomain, roots, sequence, refreshHintSeconds })),
    [{ trustDomain: "cluster.local", roots: "A", sequence: 1n, refreshHintSeconds: 300 }],
  );
  const [before] = service.followers;
  assert.deepEqual([before?.identity, before?.serial, before?.authority, before?.holds], [IDENTITY, "5e", "aa", undefined]);
  agent.say({ nonce, serial: "5f", authority: "bb" });
  assert.equal(await service.whenever(() => service.followers[0]?.holds === world.current, 10_000), true);
  assert.deepEqual([service.followers[0]?.serial, service.followers[0]?.authority], ["5f", "bb"]);
});

test("one update is out at a time: what changed meanwhile comes as the newest state after the answer", async (t) => {
  const { world, service, open } = await serve(t);
  const agent = open();
  agent.say({ workload: WORKLOAD });
  const { nonce } = await agent.update(1);
  for (const roots of [
    ["A", "B"],
    ["A", "B", "C"],
  ]) {
    world.current = stateOf(...roots);
    service.publish();
  }
  assert.equal(agent.updates.length, 1);
  agent.say({ nonce });
  const second = await agent.update(2);
  assert.equal(second.bundles[0]?.roots, "ABC");
  agent.say({ nonce: second.nonce });
  assert.equal(await service.whenever(() => service.followers[0]?.holds === world.current, 10_000), true);
});

test("an agent that refuses an update does not hold it, is shown with the reason, and gets it again after a while", async (t) => {
  const { world, service, open } = await serve(t);
  const agent = open();
  agent.say({ workload: WORKLOAD });
  agent.say({ nonce: (await agent.update(1)).nonce, refusal: "the proxy did not answer" });
  assert.equal(await service.whenever(() => service.followers[0]?.refusal === "the proxy did not answer", 10_000), true);
  assert.equal(service.followers[0]?.holds, undefined);
  world.now = 11_000;
  assert.equal((await agent.update(2)).bundles[0]?.roots, "A");
});

test("an agent is told once that its certificate was revoked, again with every other update, and no more when it has another", async (t) => {
  const { world, service, open } = await serve(t);
  const agent = open();
  agent.say({ workload: WORKLOAD, serial: "5e" });
  const first = await agent.update(1);
  agent.say({ nonce: first.nonce, serial: "5e" });
  assert.equal(await service.whenever(() => service.followers[0]?.holds === world.current, 10_000), true);
  world.revoked = "5e";
  service.publish();
  const second = await agent.update(2);
  assert.deepEqual([first.revoked, second.revoked], ["", "5e"]);
  agent.say({ nonce: second.nonce, serial: "5e" });
  service.publish();
  world.current = stateOf("A", "B");
  service.publish();
  const third = await agent.update(3);
  assert.deepEqual([third.revoked, third.bundles[0]?.roots], ["5e", "AB"]);
  agent.say({ nonce: third.nonce, serial: "5f" });
  world.current = stateOf("A");
  service.publish();
  assert.equal((await agent.update(4)).revoked, "");
});

test("nobody follows without a certificate, or for another's workload", async (t) => {
  const { service, open } = await serve(t);
  const [nameless, impostor] = [open("none"), open()];
  nameless.say({ workload: WORKLOAD });
  impostor.say({ workload: "shop/vault" });
  assert.deepEqual([(await nameless.ended).code, (await impostor.ended).code], [status.UNAUTHENTICATED, status.PERMISSION_DENIED]);
  assert.deepEqual([service.followers, nameless.updates, impostor.updates], [[], [], []]);
});

test("a stream whose client is done without a word ends, so that nobody keeps more of them than are counted", async (t) => {
  const { open } = await serve(t);
  const silent = open("none");
  silent.finish();
  assert.equal((await silent.ended).code, status.OK);
});

test("a stream ends with the certificate that opened it", async (t) => {
  const { world, service, open } = await serve(t);
  const agent = open();
  agent.say({ workload: WORKLOAD });
  await agent.update(1);
  world.now = 100_000;
  assert.equal((await agent.ended).code, status.UNAUTHENTICATED);
  assert.deepEqual(service.followers, []);
});

test("of one workload's streams the oldest goes when there are more than four, and a report that is none ends its own", async (t) => {
  const { service, open } = await serve(t);
  const agents: ReturnType<typeof open>[] = [];
  for (let count = 0; count < 5; count += 1) {
    const agent = open();
    agent.say({ workload: WORKLOAD });
    await agent.update(1);
    agents.push(agent);
  }
  assert.equal((await agents[0]?.ended)?.code, status.RESOURCE_EXHAUSTED);
  assert.equal(service.followers.length, 4);
  agents[1]?.say({ serial: "no hex" });
  assert.equal((await agents[1]?.ended)?.code, status.INVALID_ARGUMENT);
  assert.equal(service.followers.length, 3);
});
