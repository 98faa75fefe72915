/** Many agents at once: nobody starves, nothing grows without bound. The queue is small here, so that few are many. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { Server } from "@grpc/grpc-js";
import { createCertificateClient } from "../../src/agent/certificate-client.ts";
import { CertificateManager } from "../../src/agent/certificate-manager.ts";
import { systemTimers } from "../../src/agent/timers.ts";
import { fixedToken } from "../../src/agent/token-source.ts";
import { clientCertificateAuthenticator, tokenAuthenticator } from "../../src/ca/authenticators.ts";
import { openAuthority } from "../../src/ca/authority.ts";
import { certificateService } from "../../src/ca/csr-service.ts";
import { TokenIssuer } from "../../src/ca/service-account-token.ts";
import { servingIdentity, startServing } from "../../src/ca/serving.ts";
import { systemClock } from "../../src/core/clock.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { IstioCertificateService } from "../../src/gen/istio/v1/auth/ca_pb.js";
import { formatSpiffeId } from "../../src/identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../../src/identity/trust-domain.ts";
import { CallQueue } from "../../src/rpc/call-queue.ts";
import { queuedService } from "../../src/rpc/queued-service.ts";
import { serviceDefinition } from "../../src/rpc/service.ts";
import { listenTls } from "../../src/server/listen.ts";
import { until } from "../fakes/processes.ts";
import { tempFolder } from "../fixture/temp-folder.ts";

const AGENTS = 150;
const CAPACITY = 8;

/** A CA behind a queue of `CAPACITY`, one call at a time. */
async function startCa(t: TestContext) {
  const folder = tempFolder(t);
  const shared = { trustDomain: DEFAULT_TRUST_DOMAIN, clock: systemClock, logger: silentLogger };
  const authority = openAuthority({ ...shared, stateFolder: join(folder, "state") });
  const serving = await startServing({ authority, clock: systemClock, logger: silentLogger });
  const tokens = new TokenIssuer({ stateFolder: join(folder, "state"), issuer: "https://storm", clock: systemClock });
  const queue = new CallQueue({ concurrency: 1, capacity: CAPACITY, maxWaitMs: 5_000 });
  let most = 0;
  const watch = async (): Promise<undefined> => {
    most = Math.max(most, queue.status.waiting);
  };
  const authenticators = [
    { name: "watch", authenticate: watch },
    clientCertificateAuthenticator({ ...shared, trust: () => authority.trust }),
    tokenAuthenticator({ ...shared, tokens }),
  ];
  const service = certificateService({ authority, authenticators, knows: () => true, logger: silentLogger });
  const server = new Server();
  server.addService(
    serviceDefinition(IstioCertificateService),
    queuedService(queue, { ...service }, () => undefined),
  );
  const tlsPort = await listenTls(server, { listen: { host: "127.0.0.1", port: 0 }, material: serving.material });
  t.after(() => {
    tlsPort.close();
    server.forceShutdown();
    serving.close();
    authority.close();
  });
  const rootCertificateFile = join(folder, "roots.pem");
  writeFileSync(rootCertificateFile, authority.rootsPem);
  const controlPlane = { address: "127.0.0.1", port: tlsPort.port, identity: formatSpiffeId(servingIdentity(DEFAULT_TRUST_DOMAIN)) };
  return { queue, tokens, controlPlane, rootCertificateFile, mostWaiting: () => most };
}

describe("a storm of agents", { timeout: 120_000 }, () => {
  test("ends with a certificate for each, by the times that they are told, with a queue that stays small; and again when all renew", async (t) => {
    const { queue, tokens, controlPlane, rootCertificateFile, mostWaiting } = await startCa(t);
    let attempts = 0;
    const managers = await Promise.all(
      Array.from({ length: AGENTS }, async (_, index) => {
        const name = `agent-${index}`;
        const token = fixedToken(await tokens.mint({ namespace: "fleet", name, audience: "istio-ca", ttlSeconds: 600 }));
        const identity = `spiffe://cluster.local/ns/fleet/sa/${name}`;
        const request = createCertificateClient({ identity, controlPlane, rootCertificateFile, token, ttlSeconds: 0, clock: systemClock });
        const counted: typeof request = (current) => {
          attempts += 1;
          return request(current);
        };
        const manager = new CertificateManager({
          request: counted,
          clock: systemClock,
          timers: systemTimers,
          random: Math.random,
          logger: silentLogger,
        });
        t.after(() => manager.stop());
        return manager;
      }),
    );
    const serials = () => new Set(managers.flatMap(({ valid }) => valid?.serial ?? []));
    // Agents' timers keep no process alive.
    const alive = setInterval(() => undefined, 1_000);
    t.after(() => clearInterval(alive));

    for (const manager of managers) manager.start();
    await until("each agent has a certificate", () => serials().size === AGENTS, 100_000);
    assert.ok(queue.status.refused > 0, "there was no storm");
    assert.ok(mostWaiting() <= CAPACITY);
    assert.ok(attempts < 6 * AGENTS, `${attempts} attempts`);

    const first = serials();
    await Promise.allSettled(managers.map((manager) => manager.renew()));
    await until("each agent has another one", () => serials().isDisjointFrom(first) && serials().size === AGENTS, 100_000);
    assert.ok(mostWaiting() <= CAPACITY);
    assert.deepEqual({ ...queue.status, refused: 0 }, { running: 0, waiting: 0, refused: 0 });
  });
});
