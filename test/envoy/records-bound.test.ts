/** What a real Envoy writes beyond what its agent may keep. */
import assert from "node:assert/strict";
import { Agent } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "../fakes/processes.ts";
import { collect, temporaryFolder } from "../fixture/audit-store.ts";
import { RecordKeeper, startRelay } from "../fixture/records.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { agentCluster, get, listenerPort, startApplication, startEnvoy, staticBootstrap } from "./static-envoy.ts";

const CAPACITY = 100;
const CALLS = 1_000;

test("of a flood of a real Envoy's while the control plane is away the newest are kept, and the others are counted", {
  skip: skipWithoutEnvoy(),
  timeout: 90_000,
}, async (t) => {
  const keeper = new RecordKeeper(t);
  await keeper.start();
  const { relay, socket } = await startRelay(t, keeper, { capacity: CAPACITY });
  const folder = temporaryFolder(t);
  const adminSocket = join(folder, "admin.sock");
  const envoy = startEnvoy(t, folder, staticBootstrap(agentCluster(socket), await startApplication(t), adminSocket));
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const target = { port: await listenerPort(envoy, adminSocket), agent };
  await get(target, "/photos/first");
  await until("the first is recorded", async () => (await keeper.said()).length === 1);

  keeper.kill();
  for (let at = 1; at <= CALLS; at++) await get(target, `/photos/${at}`);
  await until("all are at the agent", () => relay.status.waiting + relay.status.lost === CALLS);
  const { waiting, lost } = relay.status;
  // What Envoy sends together goes together.
  assert.ok(waiting <= CAPACITY && waiting > CAPACITY / 2, `${waiting} wait`);
  await keeper.start();
  await until("all is acknowledged", () => relay.status.waiting === 0);

  const kept = Array.from({ length: waiting }, (_, at) => `/photos/${lost + 1 + at}`);
  assert.deepEqual(await keeper.said(), ["/photos/first", `${lost} records`, ...kept]);
  const [record] = await collect(keeper.store.query({ effect: "lost" }), ({ workload }) => workload);
  assert.equal(record, "photo-ns/photo-backend");
});
