/** A real Envoy reports to the intake, by its own access log service client. */
import assert from "node:assert/strict";
import { Agent } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { createAlsIntake } from "../../src/audit/als-intake.ts";
import type { AuditRecord } from "../../src/audit/record.ts";
import { AccessLogService } from "../../src/gen/envoy/service/accesslog/v3/als_pb.js";
import { serviceDefinition } from "../../src/rpc/service.ts";
import { collect, openTestStore, temporaryFolder } from "../fixture/audit-store.ts";
import { startGrpcServer } from "../fixture/grpc-server.ts";
import { admitReporter, eventually, REPORTER_IDENTITY } from "../fixture/reporter.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { get, intakeCluster, listenerPort, startApplication, startEnvoy, staticBootstrap } from "./static-envoy.ts";

test("a real Envoy's requests are recorded, each once, with the rule that decided it", {
  skip: skipWithoutEnvoy(),
  timeout: 60_000,
}, async (t) => {
  const { store, clock, logger } = openTestStore(t);
  clock.time = Date.now();
  const admit = async (...asked: Parameters<typeof admitReporter>) => ({
    ...(await admitReporter(...asked)),
    expiresAt: Date.now() + 3_600_000,
  });
  const intake = createAlsIntake({ store, admit, serviceOf: (workload) => workload, clock, logger });
  const server = await startGrpcServer(t, serviceDefinition(AccessLogService), intake.implementation, REPORTER_IDENTITY);
  const folder = temporaryFolder(t);
  const adminSocket = join(folder, "admin.sock");
  const envoy = startEnvoy(t, folder, staticBootstrap(intakeCluster(server), await startApplication(t), adminSocket));
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const target = { port: await listenerPort(envoy, adminSocket), agent };

  for (let at = 0; at < 50; at++) await get(target, `/photos/${at}?token=secret`);
  await get(target, "/admin", "DELETE");
  await get(target, "/elsewhere");
  await eventually(() => intake.stats().records >= 52);

  const records: AuditRecord[] = await collect(store.query({}), (record) => record);
  const said = ({ method, path, status, effect, origin, workload, service }: AuditRecord) =>
    [method, path, status, effect, origin, workload, service].join(" ");
  const own = "photo-ns/photo-backend photo-ns/photo-backend";
  assert.deepEqual(records.map(said), [
    ...Array.from({ length: 50 }, (_, at) => `GET /photos/${at} 200 allow photo-ns/open[0] ${own}`),
    `DELETE /admin 403 deny photo-ns/closed[0] ${own}`,
    `GET /elsewhere 403 deny default ${own}`,
  ]);
  assert.deepEqual(intake.stats(), { streams: 1, records: 52, rejected: 0 });
  assert.ok(
    records.every(({ time, caller, sourceIp }) => caller === "" && sourceIp === "127.0.0.1" && Math.abs(time - Date.now()) < 60_000),
  );
});
