import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { status as grpcStatus } from "@grpc/grpc-js";
import { AgentProcess } from "../../test/fakes/agent-process.ts";
import { CONTROL_PLANE_IDENTITY, FakeCsrServer } from "../../test/fakes/fake-csr-server.ts";
import { commandLines, isAlive, until } from "../../test/fakes/processes.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { SdsTestClient, secretText } from "../../test/fakes/sds-client.ts";
import { type Agent, startAgent } from "./agent.ts";
import type { AgentOptions, ProxyChoice } from "./agent-options.ts";
import type { AgentStatus } from "./status.ts";
import { requestOverSocket } from "./unix-http.ts";

const IDENTITY = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";
const TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2VjcmV0LXNpZ25hdHVyZQ";
const FAKE_PROXY = join(import.meta.dirname, "../../test/fakes/fake-proxy.ts");
const embedded = (...behaviours: string[]): ProxyChoice => ({ kind: "embedded", command: [process.execPath, FAKE_PROXY, ...behaviours] });

let folder: string;
let server: FakeCsrServer;
let logger: RecordingLogger;
const agents: Agent[] = [];
const processes: AgentProcess[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "garrison-agent-"));
  logger = new RecordingLogger();
  server = new FakeCsrServer(IDENTITY);
  await server.start();
  writeFileSync(join(folder, "root-cert.pem"), server.ca.rootPem);
  writeFileSync(join(folder, "token"), TOKEN);
});
afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.stop()));
  for (const child of processes.splice(0)) {
    child.signal("SIGKILL");
    await child.ended();
  }
  server.kill();
  rmSync(folder, { recursive: true });
});

function options(extra: Partial<AgentOptions> = {}): Omit<AgentOptions, "logger"> {
  return {
    workload: "photo-ns/photo-frontend",
    identity: IDENTITY,
    address: "127.0.0.1",
    controlPlane: { address: "127.0.0.1", port: server.port, identity: CONTROL_PLANE_IDENTITY },
    rootCertificateFile: join(folder, "root-cert.pem"),
    tokenFile: join(folder, "token"),
    runFolder: join(folder, "run"),
    proxy: { kind: "none" },
    ...extra,
  };
}

async function start(extra: Partial<AgentOptions> = {}): Promise<Agent> {
  const agent = await startAgent({ ...options(extra), logger });
  agents.push(agent);
  return agent;
}

function startProcess(extra: Partial<AgentOptions> = {}): AgentProcess {
  const child = new AgentProcess({ options: options(extra) });
  processes.push(child);
  return child;
}

async function ask(method: "GET" | "POST", path: string): Promise<{ status: number; body: unknown }> {
  const { status, body } = await requestOverSocket({ socket: join(folder, "run", "agent.sock"), method, path, timeoutMs: 15_000 });
  return { status, body: JSON.parse(body) };
}

const ready = () =>
  until("the agent is ready", () =>
    ask("GET", "/ready").then(
      ({ status }) => status === 200,
      () => false,
    ),
  );

/** The shells that end a process when its agent is gone. */
const watchersOf = (pid: number) => commandLines().filter((line) => new RegExp(`garrison-lifeline \\w+ -?${pid}$`).test(line)).length;

async function proxyPid(): Promise<number> {
  const { body } = await ask("GET", "/status");
  const { pid } = (body as AgentStatus).proxy;
  assert.ok(pid !== undefined);
  return pid;
}

describe("an agent", () => {
  it("tells what it is, what it has and how its proxy fares", async () => {
    await start({ proxy: embedded() });
    await ready();
    const { body } = await ask("GET", "/status");
    const { certificate, memory, proxy, pid, workloadApi, ...rest } = body as AgentStatus;
    assert.deepEqual(rest, { workload: "photo-ns/photo-frontend", identity: IDENTITY, ready: true, trustPushed: false, sdsStreams: 0 });
    assert.deepEqual(workloadApi, { socket: join(folder, "run", "workload.sock"), streams: 0 });
    assert.equal(pid, process.pid);
    assert.deepEqual({ kind: proxy.kind, state: proxy.state, restarts: proxy.restarts }, { kind: "embedded", state: "ready", restarts: 0 });
    assert.match(certificate.serial ?? "", /^[0-9a-f]{32}$/);
    assert.equal(certificate.failures, 0);
    assert.ok(Date.parse(certificate.nextAttempt ?? "") < Date.parse(certificate.notAfter ?? ""));
    assert.ok((memory.agent ?? 0) > 1_000_000);
    assert.ok((memory.proxy ?? 0) > 1_000_000);
  });

  it("that cannot answer the node's probes leaves nothing running: its folder is free for the next", async () => {
    const taken = createServer();
    taken.listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    const health = { host: "127.0.0.1", port, probes: new Map() };
    await assert.rejects(start({ proxy: embedded(), health }), { code: "address-in-use" });
    taken.close();
    assert.ok(logger.messages.includes("info: agent stopped"));
    await start({ proxy: embedded(), health });
    await ready();
  });

  it("gives its embedded proxy a bootstrap for its own eyes", async () => {
    await start({ proxy: embedded() });
    const file = join(folder, "run", "proxy.json");
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.deepEqual(JSON.parse(readFileSync(file, "utf8")), {
      workload: "photo-ns/photo-frontend",
      node: {
        id: "sidecar~127.0.0.1~photo-frontend.photo-ns~photo-ns.svc.cluster.local",
        cluster: "photo-frontend.photo-ns",
        metadata: { NAMESPACE: "photo-ns", WORKLOAD_NAME: "photo-frontend", SERVICE_ACCOUNT: "photo-frontend", GARRISON_PROXY: "embedded" },
      },
      controlPlane: { address: "127.0.0.1", port: server.port, identity: CONTROL_PLANE_IDENTITY },
      sdsSocket: join(folder, "run", "sds.sock"),
      readySocket: join(folder, "run", "proxy-ready.sock"),
    });
  });

  it("renews on demand and answers when the proxy has taken the new certificate", async () => {
    await start();
    await ready();
    const client = new SdsTestClient(join(folder, "run", "sds.sock"));
    const stream = client.open("delta");
    stream.send({ subscribe: ["default"] });
    stream.send({ nonce: (await stream.next()).nonce });
    const renewal = ask("POST", "/renew");
    const second = await stream.next();
    stream.send({ nonce: second.nonce });
    const { status, body } = await renewal;
    assert.equal(status, 200);
    assert.deepEqual(Object.keys(body as object), ["serial", "notAfter", "acceptedBy"]);
    assert.equal((body as { acceptedBy: number }).acceptedBy, 1);
    assert.equal((body as { serial: string }).serial, second.version);
    client.close();
  });

  it("says why a renewal on demand failed, and keeps what it has", async () => {
    await start();
    await ready();
    server.answer = () => ({ code: grpcStatus.PERMISSION_DENIED, details: "this service account is gone" });
    const { status, body } = await ask("POST", "/renew");
    assert.equal(status, 502);
    assert.deepEqual(body, { error: { code: "permission-denied", message: "this service account is gone" } });
    const { certificate } = (await ask("GET", "/status")).body as AgentStatus;
    assert.equal(certificate.state, "renewal-failing");
    assert.deepEqual(certificate.lastError, { code: "permission-denied", message: "this service account is gone" });
    assert.equal((await ask("GET", "/ready")).status, 200);
  });

  it("outlives its control plane, and renews when that is back", async () => {
    const agent = await start();
    await ready();
    server.kill();
    await assert.rejects(agent.renew(), { code: "unavailable" });
    await assert.rejects(agent.renew(), { code: "unavailable" });
    assert.equal((await agent.status()).ready, true);
    await server.start();
    await until("the certificate is renewed by itself", async () => (await agent.status()).certificate.state === "valid");
  });

  it("starts before its control plane does", async () => {
    server.kill();
    await start();
    await logger.line("no certificate yet");
    assert.equal((await ask("GET", "/ready")).status, 503);
    await server.start();
    await ready();
  });

  it("does not start its proxy without a certificate", async () => {
    server.answer = () => ({ code: grpcStatus.UNAUTHENTICATED, details: "who are you" });
    await start({ proxy: embedded() });
    await logger.line("no certificate yet", 2);
    assert.equal(logger.messages.includes("info: proxy started"), false);
  });

  it("starts its proxy again after it was killed", async () => {
    await start({ proxy: embedded() });
    await ready();
    const first = await proxyPid();
    process.kill(first, "SIGKILL");
    await logger.line("proxy ready", 2);
    assert.notEqual(await proxyPid(), first);
  });

  it("leaves no process and no socket behind when it stops", async () => {
    const agent = await start({ proxy: embedded() });
    await ready();
    const pid = await proxyPid();
    assert.equal(watchersOf(pid), process.platform === "linux" ? 1 : 0);
    await agent.stop();
    assert.equal(await agent.done, 0);
    assert.equal(isAlive(pid), false);
    await until("its watcher is gone", () => watchersOf(pid) === 0);
    assert.equal(existsSync(join(folder, "run", "agent.sock")), false);
    assert.equal(existsSync(join(folder, "run", "sds.sock")), false);
  });

  it("answers nothing but what it has", async () => {
    await start();
    assert.equal((await ask("GET", "/renew")).status, 404);
    assert.equal((await ask("POST", "/status")).status, 404);
    assert.equal((await ask("GET", "/../token")).status, 404);
  });

  const refusals: readonly { readonly name: string; readonly extra: Partial<AgentOptions>; readonly code: string }[] = [
    { name: "a workload that is none", extra: { workload: "photo-frontend" }, code: "invalid-argument" },
    { name: "an identity that is none", extra: { identity: "spiffe://cluster.local/photo" }, code: "invalid-argument" },
    { name: "a workload and an identity of two namespaces", extra: { workload: "other-ns/photo-frontend" }, code: "invalid-argument" },
    { name: "a missing Envoy", extra: { proxy: { kind: "envoy", path: "/nonexistent/envoy", xds: "delta" } }, code: "not-found" },
    { name: "an embedded proxy without a command", extra: { proxy: { kind: "embedded", command: [] } }, code: "invalid-argument" },
    { name: "a run folder with too long a path", extra: { runFolder: `/tmp/${"x".repeat(120)}` }, code: "invalid-argument" },
  ];
  for (const { name, extra, code } of refusals) {
    it(`does not start with ${name}`, async () => {
      await assert.rejects(start({ proxy: { kind: "embedded", command: ["x"] }, ...extra }), { code });
      rmSync(`/tmp/${"x".repeat(120)}`, { recursive: true, force: true });
    });
  }

  it("does not start beside another one in one run folder, and leaves the other's files alone", async () => {
    await start({ proxy: embedded() });
    await assert.rejects(start({ proxy: embedded(), address: "127.0.0.2" }), { code: "address-in-use" });
    assert.match(readFileSync(join(folder, "run", "proxy.json"), "utf8"), /sidecar~127\.0\.0\.1~/);
  });

  it("writes no token and no key into its log, its status or its errors", async () => {
    const agent = await start({ proxy: embedded("exit=1") });
    await logger.line("the proxy died and is restarted");
    const client = new SdsTestClient(join(folder, "run", "sds.sock"));
    const stream = client.open("sotw");
    stream.send({ subscribe: ["default"] });
    const first = await stream.next();
    const { key = "" } = secretText(first.secrets[0]);
    stream.send({ nonce: first.nonce, refusal: "no" });
    server.answer = () => ({ code: grpcStatus.UNAUTHENTICATED, details: "token refused" });
    const failure = await ask("POST", "/renew");
    server.kill();
    await assert.rejects(agent.renew());
    const status = await agent.status();
    client.close();
    await agent.stop();

    const body = key.split("\n").slice(1, -2).join("");
    assert.ok(body.length > 100, "the test did not see the key");
    const everything = JSON.stringify([logger.lines, failure, status]);
    for (const secret of [TOKEN, TOKEN.split(".").at(-1) ?? "", "PRIVATE KEY", body.slice(0, 40), body.slice(60, 100)]) {
      assert.equal(everything.includes(secret), false, "a secret is told");
    }
  });
});

describe("a workload's command", () => {
  it("runs when the proxy is ready, with its environment, and its exit status is the agent's", async () => {
    const child = startProcess({
      proxy: embedded(),
      env: { PHOTO_BACKEND_SERVICE_HOST: "127.0.0.1", PHOTO_BACKEND_SERVICE_PORT: "17081" },
      command: ["/bin/sh", "-c", 'echo "$PHOTO_BACKEND_SERVICE_HOST:$PHOTO_BACKEND_SERVICE_PORT"; exit 42'],
    });
    assert.equal(await child.ended(), 42);
    assert.equal(child.output, "127.0.0.1:17081\n");
    const order = child.log.lines
      .map(({ message }) => message)
      .filter((message) => ["proxy ready", "command started", "command ended", "proxy stopped"].includes(message));
    assert.equal(JSON.stringify(child.log.lines).includes("exit 42"), false, "the arguments are in the log");
    assert.deepEqual(order, ["proxy ready", "command started", "command ended", "proxy stopped"]);
  });

  it("gets the agent's signals", async () => {
    const child = startProcess({
      command: ["/bin/sh", "-c", 'trap "echo caught; exit 3" TERM; echo started; while :; do sleep 0.05; done'],
    });
    await until("the command runs", () => child.output.includes("started"));
    child.signal("SIGTERM");
    assert.equal(await child.ended(), 3);
    assert.match(child.output, /caught/);
  });

  it("that a signal ends is told as a shell tells it", async () => {
    const child = startProcess({ command: ["/bin/sh", "-c", "kill -9 $$"] });
    assert.equal(await child.ended(), 137);
  });

  it("that is not there is told as a shell tells it", async () => {
    const child = startProcess({ command: ["/nonexistent/command"] });
    assert.equal(await child.ended(), 127);
  });

  it("that cannot even be tried ends the agent with a failure", async () => {
    const child = startProcess({ command: ["/bin/true"], env: { BAD: "a\u0000b" } });
    assert.equal(await child.ended(), 1);
    await child.log.line("the command cannot be started");
  });

  it("is not waited for when the agent is asked to end before it could start", async () => {
    const child = startProcess({ proxy: embedded("never-ready"), command: ["/bin/sh", "-c", "echo never"] });
    await child.log.line("proxy started");
    child.signal("SIGTERM");
    assert.equal(await child.ended(), 143);
    assert.equal(child.output, "");
  });
});

describe("an agent that is killed", () => {
  it("takes its proxy and its command with it", async (t) => {
    const child = startProcess({ proxy: embedded("ignore-sigterm"), command: ["/bin/sh", "-c", "echo $$; exec sleep 1000"] });
    await until("the command runs", () => child.output.includes("\n"));
    const pids = [await proxyPid(), Number(child.output)];
    t.after(() => {
      for (const pid of pids) if (isAlive(pid)) process.kill(pid, "SIGKILL");
    });
    assert.deepEqual(pids.map(isAlive), [true, true]);
    child.signal("SIGKILL");
    await child.ended();
    await until("both are gone", () => !pids.some(isAlive));
    await until("their watchers are gone", () => pids.every((pid) => watchersOf(pid) === 0));
  });

  it("leaves sockets that the next one takes over", async () => {
    const child = startProcess();
    await ready();
    child.signal("SIGKILL");
    await child.ended();
    await start();
    await ready();
  });
});
