import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, it } from "node:test";
import { type Agent, startAgent } from "../../src/agent/agent.ts";
import type { AgentOptions } from "../../src/agent/agent-options.ts";
import { requestOverSocket } from "../../src/agent/unix-http.ts";
import { AgentProcess } from "../fakes/agent-process.ts";
import { CONTROL_PLANE_IDENTITY, FakeCsrServer } from "../fakes/fake-csr-server.ts";
import { httpForwarding } from "../fakes/http-forwarding.ts";
import { pickPort } from "../fakes/ports.ts";
import { isAlive, until } from "../fakes/processes.ts";
import { RecordingLogger } from "../fakes/recording-logger.ts";
import { findEnvoy, skipWithoutEnvoy } from "./find-envoy.ts";

const IDENTITY = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";

let folder: string;
let server: FakeCsrServer;
let logger: RecordingLogger;
const agents: Agent[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "garrison-envoy-"));
  logger = new RecordingLogger();
  server = new FakeCsrServer(IDENTITY);
  writeFileSync(join(folder, "root-cert.pem"), server.ca.rootPem);
});
afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.stop()));
  server.kill();
  rmSync(folder, { recursive: true });
});

function options(xds: "delta" | "sotw"): Omit<AgentOptions, "logger"> {
  return {
    workload: "photo-ns/photo-frontend",
    identity: IDENTITY,
    address: "127.0.0.1",
    controlPlane: { address: "127.0.0.1", port: server.port, identity: CONTROL_PLANE_IDENTITY },
    rootCertificateFile: join(folder, "root-cert.pem"),
    runFolder: join(folder, "run"),
    proxy: { kind: "envoy", path: findEnvoy() ?? "", xds, concurrency: 1 },
  };
}

async function start(xds: "delta" | "sotw" = "delta"): Promise<Agent> {
  const agent = await startAgent({ ...options(xds), logger });
  agents.push(agent);
  await logger.line("proxy ready");
  return agent;
}

/** The serials of the certificates that Envoy uses, from its admin interface. */
async function serialsInUse(): Promise<readonly string[]> {
  const { body } = await requestOverSocket({
    socket: join(folder, "run", "envoy-admin.sock"),
    method: "GET",
    path: "/certs",
    timeoutMs: 5_000,
  });
  const { certificates } = JSON.parse(body) as { certificates: readonly { cert_chain: readonly { serial_number: string }[] }[] };
  return certificates.flatMap(({ cert_chain }) => cert_chain.map(({ serial_number }) => serial_number));
}

async function pidOf(agent: Agent): Promise<number> {
  const { pid } = (await agent.status()).proxy;
  assert.ok(pid !== undefined);
  return pid;
}

describe("an agent with a real Envoy", { skip: skipWithoutEnvoy() }, () => {
  for (const xds of ["delta", "sotw"] as const) {
    it(`gives it its certificate, and a rotated one while it runs (${xds})`, async () => {
      await server.start();
      const agent = await start(xds);
      const first = (await agent.status()).certificate.serial ?? "";
      assert.deepEqual(server.adsStreams.at(0), first);
      assert.deepEqual(await serialsInUse(), [first]);

      const { serial, acceptedBy } = await agent.renew();
      assert.notEqual(serial, first);
      assert.ok(acceptedBy >= 1);
      await until("Envoy uses the new certificate", async () => (await serialsInUse()).join() === serial);

      server.kill();
      await server.start();
      await until("Envoy comes back with the new certificate", () => server.adsStreams.at(-1) === serial);
    });
  }

  it("starts it again after it was killed, with a line in the log", async () => {
    await server.start();
    const agent = await start();
    const first = await pidOf(agent);
    process.kill(first, "SIGKILL");
    const { fields } = await logger.line("the proxy died and is restarted");
    assert.equal(fields.exit, "signal SIGKILL");
    await logger.line("proxy ready", 2);
    assert.notEqual(await pidOf(agent), first);
  });

  it("leaves no Envoy behind when it stops", async () => {
    await server.start();
    const agent = await start();
    const pid = await pidOf(agent);
    await agent.stop();
    assert.equal(isAlive(pid), false);
    assert.deepEqual(
      logger.messages.filter((message) => message.startsWith("error")),
      [],
    );
  });

  it("leaves no Envoy behind when it is killed itself", async () => {
    await server.start();
    const agent = new AgentProcess({ options: options("delta") });
    const { fields } = await agent.log.line("proxy ready");
    const pid = Number(fields.pid);
    assert.equal(isAlive(pid), true);
    agent.signal("SIGKILL");
    await agent.ended();
    await until("Envoy is gone", () => !isAlive(pid));
  });

  describe("that carries a request when it is stopped", () => {
    let application: Server;
    let answer: PromiseWithResolvers<void>;
    let asked: PromiseWithResolvers<void>;
    let port: number;
    beforeEach(async () => {
      answer = Promise.withResolvers();
      asked = Promise.withResolvers();
      application = createServer(async (_, response) => {
        asked.resolve();
        await answer.promise;
        response.end("finished");
      });
      application.listen(0, "127.0.0.1");
      await once(application, "listening");
      port = await pickPort();
      server.resources = httpForwarding(port, (application.address() as AddressInfo).port);
      await server.start();
    });
    afterEach(() => {
      application.close();
      application.closeAllConnections();
    });

    it("takes no new one and lets it finish first", async () => {
      const agent = await start();
      const response = ask(port);
      await asked.promise;
      const stop = agent.stop();
      await until("no new connection is taken", () => isRefused(port));
      answer.resolve();
      assert.equal(await response, "finished");
      await stop;
    });

    it("waits no longer than it was told", async () => {
      const agent = await startAgent({ ...options("delta"), drainMs: 100, logger });
      agents.push(agent);
      await logger.line("proxy ready");
      const response = ask(port).catch(() => "cut off");
      await asked.promise;
      await agent.stop();
      assert.equal(await response, "cut off");
    });
  });
});

async function ask(port: number): Promise<string> {
  const call = request({ host: "127.0.0.1", port, agent: false }).end();
  const [response] = await once(call, "response");
  return text(response);
}

/** Whether nobody listens there. */
function isRefused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(false));
    socket.once("error", () => resolve(true));
    socket.once("connect", () => socket.destroy());
  });
}
