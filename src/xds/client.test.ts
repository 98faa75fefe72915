import assert from "node:assert/strict";
import { once } from "node:events";
import { afterEach, test } from "node:test";
import { createServer, type TLSSocket } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { pickPort } from "../../test/fakes/ports.ts";
import { AppError } from "../core/error.ts";
import { silentLogger } from "../core/logger.ts";
import { clientCredentials, RotatingTlsMaterial, unneeded } from "../rpc/credentials.ts";
import { AdsClient, type AdsClientOptions } from "./client.ts";
import type { XdsNode } from "./node.ts";
import { eventually, PLAIN, setOf, startServer, type TestServer } from "./test-support.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function start(...options: Parameters<typeof startServer>): Promise<TestServer> {
  const server = await startServer(...options);
  closers.unshift(() => server.stop());
  return server;
}

/** A client that keeps what it is given as text, and refuses texts that begin with `bad`. */
function connect(address: string, options: Partial<AdsClientOptions> = {}) {
  const inForce = new Map<string, string>();
  const heard: string[] = [];
  const client = new AdsClient({
    address,
    credentials: () => credentials.createInsecure(),
    node: { id: "n", cluster: "c", metadata: { NAMESPACE: "default" } },
    typeUrl: PLAIN,
    names: ["a", "b"],
    onResource: (name, body) => {
      const text = Buffer.from(body).toString();
      heard.push(`${name}=${text}`);
      if (text.startsWith("bad")) throw new Error(`${text} cannot be read`);
      inForce.set(name, text);
    },
    onRemoved: (name) => {
      heard.push(`${name} removed`);
      inForce.delete(name);
    },
    logger: silentLogger,
    schedule: (callback) => {
      const timer = setTimeout(callback, 20);
      return () => clearTimeout(timer);
    },
    ...options,
  });
  closers.unshift(() => client.close());
  return { client, inForce, heard };
}

test("the client tells who it is, takes its resources and acknowledges them", async () => {
  const nodes: XdsNode[] = [];
  const server = await start({
    admit: (_peer, node) => {
      nodes.push(node);
      return { key: node.id };
    },
  });
  server.cache.set("n", setOf({ [PLAIN]: { a: "1" } }));
  const { heard } = connect(server.address);
  await eventually(() => server.ads.ackState("n") === "acked");
  assert.deepEqual(heard, ["a=1", "b removed"]);
  assert.deepEqual(nodes, [{ id: "n", cluster: "c", metadata: { NAMESPACE: "default" }, userAgent: "garrison" }]);
  server.cache.set("n", setOf({ [PLAIN]: { b: "1" } }));
  await eventually(() => heard.length === 4);
  assert.deepEqual(heard.slice(2), ["b=1", "a removed"]);
});

test("what the owner throws becomes a NACK with its message, and the old resource stays", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "good", b: "good" } }));
  const { inForce } = connect(server.address);
  await eventually(() => server.ads.ackState("n") === "acked");
  server.cache.set("n", setOf({ [PLAIN]: { a: "bad one", b: "better" } }));
  await eventually(() => server.ads.ackState("n") === "rejected");
  assert.deepEqual(
    [...inForce],
    [
      ["a", "good"],
      ["b", "better"],
    ],
  );
  const [type] = server.ads.connections()[0]?.types ?? [];
  assert.deepEqual([type?.rejected, type?.nacked?.message], [["a"], "`a`: bad one cannot be read"]);
});

test("the client keeps what it has while the control plane is away, and is sent nothing that it has when it comes back", async () => {
  const first = await start();
  first.cache.set("n", setOf({ [PLAIN]: { a: "1", b: "1" } }));
  const { client, inForce, heard } = connect(first.address);
  await eventually(() => first.ads.ackState("n") === "acked");
  assert.equal(client.connected, true);
  first.stop();
  await eventually(() => !client.connected);
  assert.deepEqual([...inForce.values()], ["1", "1"]);

  const second = await start({ cache: first.cache }, { port: Number(first.address.split(":")[1]) });
  await eventually(() => client.connected);
  await eventually(() => second.ads.ackState("n") === "acked");
  assert.deepEqual(heard, ["a=1", "b=1"]);
  assert.equal(second.ads.connections()[0]?.types[0]?.sent, undefined);

  second.cache.set("n", setOf({ [PLAIN]: { a: "2", b: "1" } }));
  await eventually(() => heard.length === 3);
  assert.equal(heard[2], "a=2");
});

test("on a new stream what vanished meanwhile is removed, though what is refused stands beside it", async () => {
  const server = await start();
  server.cache.set("n", setOf({ [PLAIN]: { a: "good", b: "1" } }));
  const { inForce, heard } = connect(server.address);
  await eventually(() => server.ads.ackState("n") === "acked");
  server.cache.set("n", setOf({ [PLAIN]: { a: "bad", b: "1" } }));
  await eventually(() => server.ads.ackState("n") === "rejected");
  server.ads.disconnect("n", new AppError("unavailable", "again"));
  server.cache.set("n", setOf({ [PLAIN]: { a: "bad" } }));
  await eventually(() => server.ads.ackState("n") === "rejected" && heard.includes("b removed"));
  assert.deepEqual([...inForce], [["a", "good"]]);
});

test("attempts are spread out exponentially with jitter, and start over once the control plane was there", async () => {
  let refuse = true;
  const admit = (): { key: string } => {
    if (refuse) throw new AppError("permission-denied", "not yet");
    return { key: "n" };
  };
  const server = await start({ admit });
  const delays: number[] = [];
  const schedule = (callback: () => void, delayMs: number): (() => void) => {
    delays.push(delayMs);
    if (delays.length === 8) refuse = false;
    const timer = setTimeout(callback, 1);
    return () => clearTimeout(timer);
  };
  const { client } = connect(server.address, { schedule, random: () => 0.5 });
  await eventually(() => client.connected);
  assert.deepEqual(delays, [375, 750, 1_500, 3_000, 6_000, 12_000, 22_500, 22_500]);
  server.ads.disconnect("n", new AppError("unavailable", "again"));
  await eventually(() => delays.length === 9);
  assert.equal(delays[8], 375);
});

test("a closed client lets go of its stream and does not come back", async () => {
  const told: string[] = [];
  const server = await start({ connected: () => told.push("+"), disconnected: () => told.push("-") });
  server.cache.set("n", setOf({ [PLAIN]: { a: "1" } }));
  const scheduled: number[] = [];
  const schedule = (_callback: () => void, delayMs: number): (() => void) => {
    scheduled.push(delayMs);
    return () => undefined;
  };
  const { client, heard } = connect(server.address, { schedule });
  await eventually(() => heard.length === 2);
  client.close();
  await eventually(() => told.length === 2);
  assert.deepEqual(told, ["+", "-"]);
  assert.deepEqual(scheduled, []);
  assert.equal(client.connected, false);
});

test("an attempt that nobody answered keeps no connection to the control plane that comes then", { timeout: 30_000 }, async (t) => {
  const ca = new FakeCa();
  const identity = "spiffe://cluster.local/ns/istio-system/sa/garrison";
  const roots = new RotatingTlsMaterial({ key: "", chain: "", roots: ca.rootPem });
  const port = await pickPort();
  const lost = Promise.withResolvers<void>();
  connect(`127.0.0.1:${port}`, {
    credentials: (isOver) => clientCredentials(roots, undefined, () => (isOver() ? unneeded() : undefined)),
    // There is no second attempt.
    schedule: () => {
      lost.resolve();
      return () => undefined;
    },
  });
  await lost.promise;
  const { key, chain: cert } = ca.material(identity);
  const server = createServer({ key, cert, ALPNProtocols: ["h2"] }).listen(port, "127.0.0.1");
  t.after(() => server.close());
  // gRPC dials once more, though the client is closed.
  const [socket] = (await once(server, "connection")) as [TLSSocket];
  socket.on("error", () => undefined);
  await once(socket, "close");
});
