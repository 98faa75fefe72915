/** What must hold when parts of a running mesh die or change, whichever proxy serves it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { Ledger } from "../../src/ca/ledger.ts";
import { pickPort } from "../fakes/ports.ts";
import { isAlive, until } from "../fakes/processes.ts";
import type { Scope } from "./garrison.ts";
import { allowPaths, CLIENT, OPEN_PATHS, peerAuthentication, SERVER } from "./mesh.ts";
import { isListening, type ProxyFlags, Scene } from "./scene.ts";

export interface FaultOptions {
  readonly skip?: string | false;
  /** The file's `after`. */
  readonly scope: Scope;
}

/** `garrison audit --json`: the ids of the records so far. */
async function recordIds(scene: Scene): Promise<readonly number[]> {
  const { stdout } = await scene.place.run("audit", "--json", "--limit", "10000");
  return stdout.split("\n").flatMap((line) => (line === "" ? [] : [Number(JSON.parse(line).id)]));
}

/** The control plane is killed and comes back, while a policy is edited. The serials of one certificate from before, one from after. */
async function loseControlPlane(scene: Scene): Promise<readonly string[]> {
  const { place } = scene;
  await scene.ask("/secret");
  await until("the decisions are recorded", async () => (await recordIds(scene)).length >= 2);
  const before = await recordIds(scene);
  const root = readFileSync(place.controlPlane().rootCertificate, "utf8");
  const { serial = "" } = (await scene.agentStatus(CLIENT)).certificate;
  await scene.serve.kill();

  // Meanwhile the proxies serve on by what they have, and the agent keeps its certificate.
  assert.deepEqual([await scene.ask("/open"), await scene.ask("/secret")], [200, 403]);
  assert.equal((await place.run("status")).exit, 4);
  await assert.rejects(scene.renew(CLIENT));
  const alone = (await scene.agentStatus(CLIENT)).certificate;
  assert.deepEqual([alone.state, alone.serial, alone.lastError?.code], ["renewal-failing", serial, "unavailable"]);
  assert.match(alone.lastError?.message ?? "", /^cannot reach the control plane at `127\.0\.0\.1:\d+`: .*ECONNREFUSED/);
  place.write("policy.yaml", allowPaths('["/secret"]'));

  // Then the edit is in force, and nothing is lost.
  await scene.startControlPlane();
  await scene.untilAnswer("/secret", 200);
  assert.equal(await scene.ask("/open"), 403);
  assert.equal(readFileSync(place.controlPlane().rootCertificate, "utf8"), root);
  const after = new Set(await recordIds(scene));
  assert.deepEqual(
    before.filter((id) => !after.has(id)),
    [],
  );
  const renewed = await scene.renew(CLIENT);
  assert.notEqual(renewed, serial);
  assert.equal((await scene.agentStatus(CLIENT)).certificate.state, "valid");
  assert.equal(await scene.ask("/secret"), 200);
  await untilEnforced(scene);
  place.write("policy.yaml", allowPaths(OPEN_PATHS));
  await scene.untilAnswer("/open", 200);
  return [serial, renewed];
}

/** Every policy runs on every workload that it selects. */
async function untilEnforced(scene: Scene): Promise<void> {
  await scene.place.untilStatus("every policy is enforced", ({ policies }) =>
    policies.every(({ workloads, enforced }) => workloads > 0 && enforced === workloads),
  );
}

async function loseProxy(scene: Scene): Promise<void> {
  const agent = scene.agent(SERVER);
  const pid = await scene.proxyPid(SERVER);
  const mark = agent.mark;
  process.kill(pid, "SIGKILL");
  assert.match(await agent.line(/ the proxy died and is restarted /, mark), / error .* exit="signal SIGKILL" restarts=\d+ restartInMs=\d+/);
  await agent.line(/ proxy ready /, mark);
  await scene.untilAnswer("/open", 200);
  assert.equal(await scene.ask("/secret"), 403);
  assert.notEqual(await scene.proxyPid(SERVER), pid);
  assert.equal((await scene.agentStatus(SERVER)).proxy.restarts > 0, true);
}

async function loseAgent(scene: Scene): Promise<void> {
  const pid = await scene.proxyPid(SERVER);
  await scene.agent(SERVER).kill();
  await until("the proxy has ended with its agent", () => !isAlive(pid));
  await until("nobody listens in its place", async () => !(await isListening(scene.ports.inbound)));
  await scene.startAgent(SERVER);
  await scene.untilAnswer("/open", 200);
}

async function editMode(scene: Scene): Promise<void> {
  const untilPlaintext = (status: number) =>
    until(`plaintext gets ${status}`, async () => (await scene.askInPlaintext("/open")) === status);
  // Who has no certificate is nobody, so the policy lets anybody in for this test.
  scene.place.write("policy.yaml", allowPaths(OPEN_PATHS).replace(/ {4}- from:.*\n {6}to/, "    - to"));
  assert.equal(await scene.askInPlaintext("/open"), 0);
  scene.place.write("peers.yaml", peerAuthentication("PERMISSIVE"));
  await untilPlaintext(200);
  assert.equal(await scene.ask("/open"), 200);
  scene.place.write("peers.yaml", peerAuthentication("STRICT"));
  await untilPlaintext(0);
  assert.equal(await scene.ask("/open"), 200);
  scene.place.write("policy.yaml", allowPaths(OPEN_PATHS));
}

/** Something else has the port of the client's only listener when its agent starts, and leaves later. */
async function findPortTaken(scene: Scene, scope: Scope): Promise<void> {
  const squatter = createServer((socket) => socket.destroy()).listen(scene.ports.outbound, "127.0.0.1");
  scope.after(() => squatter.close());
  await once(squatter, "listening");
  await scene.startControlPlane();
  await scene.startAgent(SERVER);
  const agent = scene.place.start(["run", "--workload", CLIENT, ...scene.proxyFlags]);
  const told = await agent.line(new RegExp(`127\\.0\\.0\\.1:${scene.ports.outbound}`));
  assert.match(told, / error /);
  const status = await scene.place.untilStatus("the client's proxy refuses", ({ workloads }) =>
    workloads.some(({ workload, proxies }) => workload === CLIENT && proxies.some(({ state }) => state === "rejected")),
  );
  const server = status.workloads.find(({ workload }) => workload === SERVER);
  assert.deepEqual(
    server?.proxies.map(({ state }) => state),
    ["acked"],
  );
  const { stdout } = await scene.place.run("status");
  assert.match(stdout, new RegExp(`shop/client .* rejected; refused .*127\\.0\\.0\\.1:${scene.ports.outbound}`));
  assert.match(await scene.serve.line(/ a proxy refused its configuration /), new RegExp(`127\\.0\\.0\\.1:${scene.ports.outbound}`));
  squatter.close();
  await scene.untilAnswer("/open", 200);
  await untilEnforced(scene);
}

/** A listener is added where something else listens, in one go with a change of the policy. */
async function addTakenPort(scene: Scene, scope: Scope): Promise<void> {
  const { place } = scene;
  const port = await pickPort();
  const squatter = createServer((socket) => socket.destroy()).listen(port, "127.0.0.1");
  scope.after(() => squatter.close());
  await once(squatter, "listening");
  const good = place.read("server.yaml");
  const added = `    - port: { number: ${port}, protocol: HTTP, name: more }\n      defaultEndpoint: 127.0.0.1:${scene.ports.application}\n`;
  place.write("policy.yaml", allowPaths('["/secret"]'));
  place.write("server.yaml", good + added);
  await scene.untilAnswer("/secret", 200);
  assert.equal(await scene.ask("/open"), 403);
  await place.untilStatus("the server's proxy refuses the listener", ({ workloads }) =>
    workloads.some(({ proxies }) => proxies.some(({ refused }) => refused.some(({ message }) => message.includes(`127.0.0.1:${port}`)))),
  );
  place.write("server.yaml", good);
  place.write("policy.yaml", allowPaths(OPEN_PATHS));
  await scene.untilAnswer("/open", 200);
  await untilEnforced(scene);
}

/** The same tests for each proxy. */
export function describeFaults(name: string, flags: ProxyFlags, { skip = false, scope }: FaultOptions): void {
  describe(`a mesh with ${name}`, { skip, timeout: 90_000 }, () => {
    const scene = new Scene(scope, flags);
    before(() => scene.start());

    test("is told by `garrison status`: each proxy, and where each policy is enforced", async () => {
      await untilEnforced(scene);
      const { exit, stdout } = await scene.place.run("status");
      assert.equal(exit, 0);
      const kind = flags.includes("envoy") ? "envoy" : "embedded";
      assert.match(stdout, new RegExp(`shop/client +spiffe://cluster\\.local/ns/shop/sa/client {2}${kind} \\(\\w+\\) acked\\n`));
      assert.match(stdout, /PeerAuthentication shop\/default {8}enforced on 2 of 2 workloads\n/);
      assert.match(stdout, /AuthorizationPolicy shop\/client-reads {2}enforced on 1 of 1 workloads\n/);
    });

    test("takes plaintext only while the mode is PERMISSIVE, from the edit on", () => editMode(scene));

    test("has a policy in force though a listener that came with it cannot be opened, which the status tells", (t) =>
      addTakenPort(scene, t));

    test("restarts a proxy that was killed, says so, and enforces as before", () => loseProxy(scene));

    test("leaves no proxy behind an agent that was killed, and takes up the next agent", { skip: process.platform !== "linux" }, () =>
      loseAgent(scene),
    );

    let serials: readonly string[] = [];
    test("serves on while the control plane is dead, and after its return has the edit of meanwhile and all records", async () => {
      serials = await loseControlPlane(scene);
    });

    test("has the certificates from before and after that death in the ledger", async () => {
      assert.equal(await scene.serve.stop(), 0);
      const ledger = new Ledger(join(scene.place.state, "ca", "ledger.sqlite"));
      const states = new Map(ledger.certificates({ limit: 1000 }).map(({ serial, state }) => [serial, state]));
      ledger.close();
      assert.deepEqual(
        serials.map((serial) => states.get(serial)),
        ["issued", "issued"],
      );
    });
  });

  test(
    `a port that is in use: ${name} says so in its log and the status, the others serve, and it is taken up when it is free`,
    { skip, timeout: 90_000 },
    async (t) => findPortTaken(await new Scene(t, flags).prepare(), t),
  );
}
