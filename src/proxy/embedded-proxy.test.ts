import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { startApplication } from "../../test/fakes/http-application.ts";
import { call, peerAgent, peerOptions, plainSocket, readAll, tlsSocket } from "../../test/fakes/http-clients.ts";
import { InboundScene } from "../../test/fakes/inbound-scene.ts";
import { pickPort } from "../../test/fakes/ports.ts";
import { BACKEND, FRONTEND, inboundListener, layers, makeProxy, rule, workloadPolicy } from "../../test/fakes/proxy-setup.ts";
import type { Condition } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";

const scene = new InboundScene();

const ask = (listener?: string, identity = FRONTEND) =>
  call({ port: scene.setup.port(listener), agent: peerAgent(scene.setup.material(identity)) });
const first = () => inboundListener(scene.application.port);
const second = (port = 0) => inboundListener(scene.application.port, { name: "second", port });
const codeOf = (error: unknown): string => (error instanceof AppError ? error.code : String(error));

describe("a policy", () => {
  test("is in force but for a listener whose address is taken, which is told and opened with the next policy", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as { port: number };
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
    const before = scene.setup.port();
    const wanted = workloadPolicy({ inbound: [first(), second(port)], http: layers({ deny: [rule("closed")] }) });
    await assert.rejects(
      scene.setup.proxy.apply(wanted),
      (error: AppError) => error.code === "address-in-use" && error.message.includes(`127.0.0.1:${port}`) && error.help !== undefined,
    );
    assert.deepEqual([scene.setup.port(), scene.setup.proxy.portOf("second"), (await ask()).status], [before, undefined, 403]);
    taken.close();
    await once(taken, "close");
    await scene.setup.proxy.apply(wanted);
    assert.deepEqual([scene.setup.port(), scene.setup.port("second"), (await ask("second")).status], [before, port, 403]);
  });
  test("that this version does not know is refused, and the one before it stays in force", async () => {
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
    const odd = { kind: "sometimes" } as unknown as Condition;
    await assert.rejects(scene.setup.proxy.apply(workloadPolicy({ inbound: [], http: layers({ deny: [rule("odd", odd)] }) })), {
      code: "invalid-configuration",
    });
    assert.equal((await ask()).status, 200);
  });
  test("with two listeners of one address is refused", async () => {
    const port = await pickPort();
    const attempt = scene.setup.proxy.apply(workloadPolicy({ inbound: [{ ...first(), port }, second(port)] }));
    await assert.rejects(attempt, { code: "invalid-configuration", message: `two listeners have the address \`127.0.0.1:${port}\`` });
  });
  test("that comes close behind another is put into force after it", async () => {
    const outcomes = await Promise.allSettled([
      scene.setup.proxy.apply(workloadPolicy({ inbound: [first()], http: layers() })),
      scene.setup.proxy.apply(workloadPolicy({ inbound: [{ ...first(), bind: "192.0.2.1" }] })),
      scene.setup.proxy.apply(workloadPolicy({ inbound: [first()], http: layers({ deny: [rule("closed")] }) })),
    ]);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    assert.equal((await ask()).status, 403);
  });
});

describe("listeners", () => {
  test("that did not change keep their port and their connections while others come and go", async () => {
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
    const port = scene.setup.port();
    const agent = peerAgent(scene.setup.material(FRONTEND), 1);
    await call({ port, agent });
    const [socket] = Object.values(agent.freeSockets).flat();
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first(), second()] }));
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
    await call({ port, agent });
    assert.deepEqual(
      [scene.setup.port(), scene.setup.proxy.portOf("second"), Object.values(agent.freeSockets).flat()[0] === socket],
      [port, undefined, true],
    );
    agent.destroy();
  });
  test("whose application moved follow it without losing a connection", async () => {
    const other = await startApplication();
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
    const agent = peerAgent(scene.setup.material(FRONTEND), 1);
    await call({ port: scene.setup.port(), agent, path: "/1" });
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [inboundListener(other.port)] }));
    await call({ port: scene.setup.port(), agent, path: "/2" });
    assert.deepEqual([scene.application.seen, other.seen], [["GET /1"], ["GET /2"]]);
    agent.destroy();
    await other.close();
  });
  test("whose protocol changed keep their port and end their connections", async () => {
    const port = await pickPort();
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [{ ...first(), port }] }));
    const socket = await tlsSocket(port, peerOptions(scene.setup.material(FRONTEND)));
    const closed = once(socket.resume(), "close");
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [{ ...first(), port, protocol: "tcp" }] }));
    await closed;
    const raw = await tlsSocket(port, { ...peerOptions(scene.setup.material(FRONTEND)), ALPNProtocols: ["istio"] });
    raw.write("GET /through HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert.match(await readAll(raw), /^HTTP\/1\.1 200 /);
    assert.equal((await scene.setup.keeper.next(({ protocol }) => protocol === "tcp")).effect, "allow");
  });
  test("on a Unix socket start also where a killed process left its file", async () => {
    const folder = mkdtempSync(join(tmpdir(), "gp-"));
    const path = join(folder, "left.sock");
    const program = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    await promisify(execFile)(process.execPath, ["-e", program]).catch(() => undefined);
    const outbound = { name: "out", bind: { kind: "unix", path } as const, protocol: "http" as const, services: [] };
    await scene.setup.proxy.apply(workloadPolicy({ outbound: [outbound] }));
    assert.equal((await call({ port: 0, socketPath: path, headers: { host: "a" } })).status, 404);
    const rival = makeProxy();
    assert.equal(await rival.proxy.apply(workloadPolicy({ outbound: [outbound] })).then(() => "taken over", codeOf), "address-in-use");
    rmSync(folder, { recursive: true });
  });
  test("take no more connections than their bound", async () => {
    const bounded = makeProxy({ limits: { connections: 2 } });
    await bounded.proxy.apply(workloadPolicy({ inbound: [inboundListener(scene.application.port, { mtls: "DISABLE" })] }));
    const open = [await plainSocket(bounded.port()), await plainSocket(bounded.port())];
    const third = await plainSocket(bounded.port());
    assert.equal(await readAll(third), "");
    assert.deepEqual(
      open.map((socket) => socket.destroyed),
      [false, false],
    );
    await bounded.proxy.close(0);
  });
});

test("a proxy that ends lets the requests in flight finish, and takes no others", async () => {
  const answer = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  scene.application.answer = async (_request, response) => {
    arrived.resolve();
    await answer.promise;
    response.end("late");
  };
  await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
  const port = scene.setup.port();
  const idle = await tlsSocket(port, peerOptions(scene.setup.material(FRONTEND)));
  const flying = call({ port, agent: peerAgent(scene.setup.material(FRONTEND)) });
  await arrived.promise;
  const closed = scene.setup.proxy.close(10_000);
  await assert.rejects(tlsSocket(port, peerOptions(scene.setup.material(FRONTEND))));
  answer.resolve();
  assert.equal(String((await flying).body), "late");
  idle.destroy();
  await closed;
});

test("a proxy that ends does not wait for ever", async () => {
  const arrived = Promise.withResolvers<void>();
  scene.application.answer = () => arrived.resolve();
  await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
  const flying = call({ port: scene.setup.port(), agent: peerAgent(scene.setup.material(FRONTEND)) });
  const outcome = assert.rejects(flying);
  await arrived.promise;
  await scene.setup.proxy.close(50);
  await outcome;
});

describe("a new certificate", () => {
  test("is presented in new handshakes, while open connections live on with the old one", async () => {
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
    const serialOf = async () => {
      const socket = await tlsSocket(scene.setup.port(), peerOptions(scene.setup.material(FRONTEND)));
      return { socket, serial: socket.getPeerCertificate().serialNumber };
    };
    const before = await serialOf();
    scene.setup.credentials.update(scene.setup.material(BACKEND));
    const after = await serialOf();
    after.socket.destroy();
    before.socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert.notEqual(before.serial, after.serial);
    assert.match(await readAll(before.socket), /^HTTP\/1\.1 200 /);
  });
  test("under load loses not one request, on kept and on new connections", async () => {
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
    const material = scene.setup.material(FRONTEND);
    const kept = peerAgent(material, 4);
    let running = true;
    let served = 0;
    const statuses = new Set<number>();
    const worker = async (agent: () => ReturnType<typeof peerAgent>) => {
      while (running) {
        statuses.add((await call({ port: scene.setup.port(), agent: agent() })).status);
        served += 1;
      }
    };
    const workers = [worker(() => kept), worker(() => kept), worker(() => peerAgent(material)), worker(() => peerAgent(material))];
    for (let swap = 0; swap < 20; swap++) {
      scene.setup.credentials.update(scene.setup.material(BACKEND));
      const until = served + 10;
      while (served < until) await new Promise((resolve) => setImmediate(resolve));
    }
    running = false;
    await Promise.all(workers);
    kept.destroy();
    assert.deepEqual([...statuses], [200]);
    assert.ok(served >= 200);
  });
  test("with other roots refuses peers of the old ones from then on", async () => {
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
    assert.equal((await ask()).status, 200);
    const next = new FakeCa("next");
    scene.setup.credentials.update(next.material(BACKEND));
    const old = { ...peerOptions(scene.setup.material(FRONTEND)), ca: next.rootPem };
    const socket = await tlsSocket(scene.setup.port(), old);
    assert.equal(await readAll(socket), "");
    const fresh = await call({ port: scene.setup.port(), agent: peerAgent(next.material(FRONTEND)) });
    assert.equal(fresh.status, 200);
  });
  test("that cannot be used is refused, and the old one stays", async () => {
    await scene.setup.proxy.apply(workloadPolicy({ inbound: [first()] }));
    const other = scene.setup.material(BACKEND);
    assert.throws(() => scene.setup.credentials.update({ ...scene.setup.material(BACKEND), key: other.key }), { code: "invalid-argument" });
    assert.throws(() => scene.setup.credentials.update({ key: "", chain: "", roots: "" }), { code: "invalid-argument" });
    assert.equal((await ask()).status, 200);
  });
});

test("without a certificate nobody is let in", async () => {
  const { Credentials } = await import("./credentials.ts");
  const { EmbeddedProxy } = await import("./embedded-proxy.ts");
  const { silentLogger } = await import("../core/logger.ts");
  const bare = new EmbeddedProxy({ credentials: new Credentials(), recorder: scene.setup.keeper, logger: silentLogger });
  await bare.apply(workloadPolicy({ inbound: [first()] }));
  await assert.rejects(tlsSocket(bare.portOf("inbound") ?? 0, peerOptions(scene.setup.material(FRONTEND))));
  await bare.close(0);
});
