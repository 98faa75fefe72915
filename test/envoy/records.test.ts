/** What a real Envoy records while its control plane is killed, through `garrison run`. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { connect, createServer } from "node:net";
import { type TestContext, test } from "node:test";
import { parseJson } from "../../src/audit/format.ts";
import type { AuditRecord } from "../../src/audit/record.ts";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { CLIENT, CLIENT_IDENTITY, peerAuthentication, SERVER } from "../feature/mesh.ts";
import { Scene } from "../feature/scene.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();

/** Calls one after the other, each of a path that no other has; the paths in their order. */
class Caller {
  readonly paths: string[] = [];
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #port: number;
  #running = true;
  #done: Promise<void>;

  constructor(t: TestContext, port: number) {
    this.#port = port;
    this.#done = this.#run();
    t.after(() => this.#agent.destroy());
  }

  /** Ends when another `count` have been answered. */
  async more(count: number): Promise<void> {
    const wanted = this.paths.length + count;
    await until(`${count} more calls were answered`, () => this.paths.length >= wanted);
  }

  async stop(): Promise<readonly string[]> {
    this.#running = false;
    await this.#done;
    return this.paths;
  }

  async #run(): Promise<void> {
    for (let at = 1; this.#running; at++) {
      const path = `/call/${at}`;
      assert.equal(await this.#get(path), 403);
      this.paths.push(path);
    }
  }

  #get(path: string): Promise<number | undefined> {
    return new Promise((resolve, reject) => {
      const sent = request({ host: "127.0.0.1", port: this.#port, path, agent: this.#agent }, (response) => {
        response.resume().once("end", () => resolve(response.statusCode));
      });
      sent.once("error", reject).end();
    });
  }
}

/** The record of calls, oldest first. */
async function recorded(scene: Scene, ...flags: readonly string[]): Promise<readonly AuditRecord[]> {
  const { stdout } = await scene.place.run("audit", "--json", "--limit", "100000", "--order", "oldest", ...flags);
  return stdout.split("\n").flatMap((line) => (line === "" ? [] : parseJson(line)));
}

test("requests made while the control plane is killed, is away and is back are recorded, each once", {
  skip,
  timeout: 120_000,
}, async (t) => {
  const scene = new Scene(t, ["--proxy", "envoy"]);
  await scene.start();
  const caller = new Caller(t, scene.ports.outbound);
  for (let kills = 0; kills < 3; kills++) {
    await caller.more(100);
    await scene.serve.kill();
    await caller.more(100);
    await scene.startControlPlane();
  }
  await caller.more(100);
  const paths = await caller.stop();
  await until("all is taken in", async () => (await scene.agentStatus(SERVER)).records?.waiting === 0);
  const records = await recorded(scene, "--path", "/call/*");
  assert.deepEqual(
    records.toSorted((left, right) => left.time - right.time || left.id - right.id).map(({ path }) => path),
    paths,
  );
  assert.deepEqual(
    [...new Set(records.map(({ workload, caller: who, effect, status }) => `${workload} ${who} ${effect} ${status}`))],
    [`${SERVER} ${CLIENT_IDENTITY} deny 403`],
  );
});

/** Opens a connection to a port and says a word; resolves when it was answered. */
async function open(t: TestContext, port: number) {
  const socket = connect(port, "127.0.0.1");
  t.after(() => socket.destroy());
  socket.write("hello");
  await once(socket, "data");
  return socket;
}

const ANYBODY_BY_TCP = (port: number) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: anybody, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  rules: [{ to: [{ operation: { ports: ["${port}"] } }] }]
`;

test("TCP connections that were open while the control plane was killed are recorded once, and completed", {
  skip,
  timeout: 120_000,
}, async (t) => {
  const scene = new Scene(t, ["--proxy", "envoy"]);
  await scene.prepare();
  const [port, application] = [await pickPort(), await pickPort()];
  const echo = createServer((socket) => socket.on("error", () => undefined).pipe(socket)).listen(application, "127.0.0.1");
  t.after(() => echo.close());
  const added = `    - port: { number: ${port}, protocol: TCP, name: tcp }\n      defaultEndpoint: 127.0.0.1:${application}\n`;
  scene.place.write("server.yaml", scene.place.read("server.yaml") + added);
  scene.place.write("peers.yaml", peerAuthentication("PERMISSIVE"));
  scene.place.write("anybody.yaml", ANYBODY_BY_TCP(port));
  await scene.startControlPlane();
  await scene.startAgent(SERVER);

  const early = await open(t, port);
  await until("its beginning is recorded", async () => (await recorded(scene, "--workload", SERVER)).length === 1);
  await scene.serve.kill();
  const late = await open(t, port);
  early.end();
  await once(early, "close");
  await scene.startControlPlane();
  late.end();
  await once(late, "close");
  await until("both are complete", async () => {
    const records = await recorded(scene, "--workload", SERVER);
    return records.length >= 2 && records.every(({ durationMicros }) => durationMicros > 0);
  });
  assert.deepEqual(
    (await recorded(scene, "--workload", SERVER)).map(({ effect, origin, bytesReceived, bytesSent }) => [
      effect,
      origin,
      bytesReceived,
      bytesSent,
    ]),
    [
      ["allow", "shop/anybody[0]", 5, 5],
      ["allow", "shop/anybody[0]", 5, 5],
    ],
  );
});

test("what an Envoy recorded right before it is ended is in the record", { skip, timeout: 120_000 }, async (t) => {
  const scene = new Scene(t, ["--proxy", "envoy"]);
  await scene.prepare();
  await scene.startControlPlane();
  await Promise.all([scene.startAgent(SERVER, ["sleep", "1000"]), scene.startAgent(CLIENT)]);
  await scene.untilAnswer("/open", 200);
  const caller = new Caller(t, scene.ports.outbound);
  await caller.more(50);
  const paths = await caller.stop();
  await scene.agent(SERVER).stop();
  assert.deepEqual(
    (await recorded(scene, "--path", "/call/*")).map(({ path }) => path),
    paths,
  );
});
