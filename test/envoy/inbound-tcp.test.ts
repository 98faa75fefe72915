/** Inbound TCP: decided before the application hears of it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import type { InboundListener } from "../../src/compile/workload-policy.ts";
import { type ClientOptions, exchange, open, readAll } from "./client.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { LOOPBACK } from "./loopback.ts";
import { clause, FRONTEND, inbound, OPEN, policyOf, portOf, ruleWhen, Scenario } from "./scenario.ts";

const skip = skipWithoutEnvoy();

const GREETING = "greetings\n";
let connections = 0;
/** Speaks first, and at the end says how much it got. */
const app = createServer({ allowHalfOpen: true }, (socket) => {
  connections += 1;
  let received = 0;
  socket.on("error", () => undefined);
  socket.write(GREETING);
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  socket.on("end", () => socket.end(`${received} bytes`));
});
let firstByteSeen: number | undefined;
/** Looks at the first byte that it gets, and hangs up. */
const firstByte = createServer((socket) => {
  socket.on("error", () => undefined);
  socket.once("data", (chunk: Buffer) => {
    firstByteSeen = chunk[0];
    socket.end();
  });
});

let scenario: Scenario;
let listeners: Readonly<Record<"strict" | "disabled" | "permissive", InboundListener>>;

before(async () => {
  if (skip) return;
  for (const server of [app, firstByte]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  const at = (server: Server) => ({ kind: "tcp", host: "127.0.0.1", port: portOf(server) }) as const;
  listeners = {
    strict: await inbound({ protocol: "tcp", mtls: "STRICT", endpoint: at(app) }),
    disabled: await inbound({ protocol: "tcp", mtls: "DISABLE", endpoint: at(app) }),
    permissive: await inbound({ protocol: "tcp", mtls: "PERMISSIVE", endpoint: at(firstByte) }),
  };
  const frontend = clause("principal", [{ kind: "exact", value: FRONTEND.slice("spiffe://".length) }]);
  const ownTls = clause("destinationPort", [{ kind: "port", port: listeners.permissive.port }]);
  const tcp = { ...OPEN, allow: [ruleWhen("frontend", 0, frontend), ruleWhen("own-tls", 0, ownTls)] };
  scenario = await Scenario.start(policyOf({ inbound: Object.values(listeners), tcp }));
});

after(async () => {
  await scenario?.stop();
  app.close();
  firstByte.close();
});

function peer(account: string): ClientOptions {
  const material = scenario.ca.material(`spiffe://cluster.local/ns/photo-ns/sa/${account}`);
  return { port: listeners.strict.port, tls: { material, alpn: ["istio"] } };
}

/** Sends this, says that there is no more, and reads to the end. */
async function send(options: ClientOptions, bytes: Buffer): Promise<string> {
  const socket = await open(options);
  const received = readAll(socket);
  socket.end(bytes);
  return received;
}

test("a peer that a rule allows reaches the application, and nothing of its first message is lost", { skip }, async () => {
  for (const size of [1, 65_536, 65_537, 1_000_000]) {
    assert.equal(await send(peer("photo-frontend"), Buffer.alloc(size, "x")), `${GREETING}${size} bytes`);
  }
});

test("a peer that is denied is cut off, and the application never hears of it", { skip }, async () => {
  const before = connections;
  assert.doesNotMatch(await exchange(peer("stranger"), "hello"), /greetings|bytes/);
  assert.equal(connections, before);
});

test("a peer that sends nothing gets no greeting and no connection to the application", { skip }, async () => {
  const before = connections;
  const silent = await open(peer("stranger"));
  let received = "";
  silent.on("data", (chunk: Buffer) => {
    received += chunk.toString("latin1");
  });
  assert.equal(await send(peer("photo-frontend"), Buffer.from("x")), `${GREETING}1 bytes`);
  silent.destroy();
  assert.equal(received, "");
  assert.equal(connections, before + 1);
});

test("a peer in plaintext has no identity, also where plaintext is taken", { skip }, async () => {
  const before = connections;
  assert.doesNotMatch(await exchange({ port: listeners.disabled.port }, "hello"), /greetings|bytes/);
  assert.equal(connections, before);
});

test("PERMISSIVE hands the application's own TLS through as it is", { skip }, async () => {
  const client = connectTls({ host: LOOPBACK, port: listeners.permissive.port, rejectUnauthorized: false });
  await readAll(client);
  // RFC 8446 §5.1: a record of type handshake.
  assert.equal(firstByteSeen, 22);
  const { controlPlane } = scenario;
  await controlPlane.until(() => controlPlane.logs.some(({ log }) => log === `${listeners.permissive.name}/own-tls`));
});

test("Envoy refused nothing of all this", { skip }, () => {
  assert.deepEqual(scenario.controlPlane.nacks, []);
});
