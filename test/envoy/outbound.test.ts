import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { connect, createServer as createTcpServer, type Server } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import type { OutboundListener, ServiceEndpoint, UpstreamService, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import type { Endpoint, Protocol } from "../../src/policy/model.ts";
import { type EnvoyResources, renderEnvoy } from "../../src/render/envoy/render.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { ask, exchange, readAll } from "./client.ts";
import { workFolder } from "./envoy-process.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { freePort, LOOPBACK } from "./loopback.ts";
import { policyOf, portOf, Scenario } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const ca = new FakeCa();
const folder = workFolder();
const A = "spiffe://cluster.local/ns/photo-ns/sa/a";
const B = "spiffe://cluster.local/ns/photo-ns/sa/b";

// === Peers: each answers with who it is ===

const offers: { readonly servername: string; readonly protocols: readonly string[] }[] = [];
let bytesInTheClear = 0;

function peerTls(identity: string): TlsOptions {
  const { key, chain, roots } = ca.material(identity);
  return {
    key,
    cert: chain,
    ca: roots,
    requestCert: true,
    rejectUnauthorized: true,
    ALPNCallback: (offer) => {
      offers.push(offer);
      return offer.protocols.find((protocol) => protocol === "http/1.1" || protocol === "istio");
    },
  };
}

function answerWith(name: string) {
  return (request: IncomingMessage, response: ServerResponse): void => {
    response.end(JSON.stringify({ name, headers: request.headers }));
  };
}

const httpA = createHttpsServer(peerTls(A), answerWith("a"));
const httpB = createHttpsServer(peerTls(B), answerWith("b"));
const httpPlain = createHttpServer(answerWith("plain"));
const tcpA = createTlsServer(peerTls(A), (socket) => socket.end("tcp a"));
/** Takes whatever comes and counts it: what must never be spoken to without TLS. */
const listener = createTcpServer((socket) => {
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => {
    // RFC 8446 §5.1: a record of TLS begins with 20 to 23.
    if ((chunk[0] ?? 0) < 20 || (chunk[0] ?? 0) > 23) bytesInTheClear += chunk.length;
    socket.destroy();
  });
});
const servers: readonly Server[] = [httpA, httpB, httpPlain, tcpA, listener];

// === Services ===

function endpoint(server: Server, identity: string, mtls = true): ServiceEndpoint {
  return { address: "127.0.0.1", port: portOf(server), identity, mtls };
}

function service(name: string, protocol: Protocol, endpoints: readonly ServiceEndpoint[], port = 80): UpstreamService {
  const [namespace = "", short = ""] = name.split("/");
  const host = `${short}.${namespace}.svc.cluster.local`;
  return { service: name, host, port, protocol, sni: `outbound_.${port}_._.${host}`, endpoints };
}

async function outbound(services: readonly UpstreamService[], bind?: Endpoint): Promise<OutboundListener> {
  const where = bind ?? { kind: "tcp", host: LOOPBACK, port: await freePort() };
  const name = where.kind === "tcp" ? `outbound_${where.host}_${where.port}` : `outbound_${where.path}`;
  return { name, bind: where, protocol: services[0]?.protocol ?? "http", services };
}

let scenario: Scenario;
let policy: WorkloadPolicy;
type ListenerName =
  | "right"
  | "wrong"
  | "mixed"
  | "swapped"
  | "changing"
  | "many"
  | "plain"
  | "none"
  | "silent"
  | "tcp"
  | "tcpWrong"
  | "socket";
let listeners: Readonly<Record<ListenerName, OutboundListener>>;

before(async () => {
  if (skip) return;
  for (const server of servers) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  const right = service("photo-ns/right", "http", [endpoint(httpA, A)]);
  listeners = {
    right: await outbound([right]),
    wrong: await outbound([service("photo-ns/wrong", "http", [endpoint(httpB, A)])]),
    mixed: await outbound([service("photo-ns/mixed", "http", [endpoint(httpA, A), endpoint(httpB, B)])]),
    swapped: await outbound([service("photo-ns/swapped", "http", [endpoint(httpA, B), endpoint(httpB, A)])]),
    changing: await outbound([service("photo-ns/changing", "http", [endpoint(httpA, A)])]),
    many: await outbound([right, service("other-ns/other", "http", [endpoint(httpB, B)])]),
    plain: await outbound([service("photo-ns/plain", "http", [endpoint(httpPlain, A, false)])]),
    none: await outbound([service("photo-ns/none", "http", [])]),
    silent: await outbound([service("photo-ns/silent", "http", [endpoint(listener, A)])]),
    tcp: await outbound([service("photo-ns/tcp", "tcp", [endpoint(tcpA, A)])]),
    tcpWrong: await outbound([service("photo-ns/tcp-wrong", "tcp", [endpoint(tcpA, B)])]),
    socket: await outbound([service("photo-ns/on-socket", "tcp", [endpoint(tcpA, A)])], {
      kind: "unix",
      path: join(folder.path, "out.sock"),
    }),
  };
  policy = policyOf({ outbound: Object.values(listeners) });
  scenario = await Scenario.start(policy, ca);
});

after(async () => {
  await scenario?.stop();
  for (const server of servers) server.close();
  folder[Symbol.dispose]();
});

function via(name: ListenerName): { readonly port: number } {
  const { bind } = listeners[name];
  return { port: bind.kind === "tcp" ? bind.port : 0 };
}

// === Secure naming ===

test("the server of the service's identity is reached", { skip }, async () => {
  const { status, text } = await ask(via("right"));
  assert.equal(status, 200);
  assert.match(text, /"name":"a"/);
});

test("a server with a valid certificate of another identity is not spoken to", { skip }, async () => {
  const { status, text } = await ask(via("wrong"));
  assert.equal(status, 503);
  assert.doesNotMatch(text, /"name"/);
});

test("each endpoint must prove its own identity, where another one's of the service would not do", { skip }, async () => {
  const names = new Set<string>();
  for (let tries = 0; names.size < 2 && tries < 200; tries++) names.add(/"name":"(.)"/.exec((await ask(via("mixed"))).text)?.[1] ?? "");
  assert.deepEqual([...names].sort(), ["a", "b"]);
  for (let tries = 0; tries < 6; tries++) assert.equal((await ask(via("swapped"))).status, 503);
});

test("a service whose identity changes is checked anew, open connections too", { skip }, async () => {
  assert.equal((await ask(via("changing"))).status, 200);
  const changing = { ...listeners.changing, services: [service("photo-ns/changing", "http", [endpoint(httpA, B)])] };
  await scenario.controlPlane.serve(renderEnvoy(policyOf({ outbound: Object.values({ ...listeners, changing }) })));
  let last = await ask(via("changing"));
  for (let tries = 0; last.status === 200 && tries < 200; tries++) last = await ask(via("changing"));
  assert.equal(last.status, 503);
  await scenario.controlPlane.serve(renderEnvoy(policy));
});

test("the client offers the mesh's protocols and Istio's server name", { skip }, async () => {
  offers.length = 0;
  // Of this service alone: no connection of it is open yet.
  await exchange(via("tcp"), "x");
  assert.deepEqual(offers, [{ servername: "outbound_.80_._.tcp.photo-ns.svc.cluster.local", protocols: ["istio"] }]);
});

test("for HTTP it offers one more that the server's HTTP codec can choose", { skip }, async () => {
  offers.length = 0;
  await ask(via("wrong"));
  assert.deepEqual(offers[0], {
    servername: "outbound_.80_._.wrong.photo-ns.svc.cluster.local",
    protocols: ["istio-http/1.1", "istio", "http/1.1"],
  });
});

test("a TCP server is checked likewise", { skip }, async () => {
  assert.equal(await exchange(via("tcp"), "x"), "tcp a");
  assert.doesNotMatch(await exchange(via("tcpWrong"), "x"), /tcp a/);
});

test("an endpoint whose own mode is DISABLE is spoken to in the clear", { skip }, async () => {
  assert.match((await ask(via("plain"))).text, /"name":"plain"/);
});

/** The endpoints of one set of resources with the rest of another. */
function withEndpointsOf(endpoints: EnvoyResources, rest: EnvoyResources): EnvoyResources {
  const type = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
  return new Map([...rest].map(([typeUrl, resources]) => [typeUrl, typeUrl === type ? (endpoints.get(type) ?? resources) : resources]));
}

test("an endpoint that its cluster knows no identity for is not connected to, and never in the clear", { skip }, async () => {
  const moved = (to: readonly ServiceEndpoint[]): WorkloadPolicy =>
    policyOf({
      outbound: Object.values({ ...listeners, silent: { ...listeners.silent, services: [service("photo-ns/silent", "http", to)] } }),
    });
  for (const stray of [endpoint(listener, B), endpoint(listener, A, false)]) {
    await scenario.controlPlane.serve(withEndpointsOf(renderEnvoy(moved([stray])), renderEnvoy(policy)));
    assert.equal((await ask(via("silent"))).status, 503);
  }
  assert.equal(bytesInTheClear, 0);
  await scenario.controlPlane.serve(renderEnvoy(policy));
});

test("a service without endpoints answers 503", { skip }, async () => {
  assert.equal((await ask(via("none"))).status, 503);
});

// === Routes ===

for (const [host, name] of [
  ["right", "a"],
  ["right:8080", "a"],
  ["RIGHT.photo-ns", "a"],
  ["right.photo-ns.svc", "a"],
  ["right.photo-ns.svc.cluster.local", "a"],
  ["right.photo-ns.svc.cluster.local:80", "a"],
  ["other.other-ns", "b"],
  ["other.other-ns.svc.cluster.local", "b"],
] as const) {
  test(`with several services on a listener, the host ${host} is ${name}`, { skip }, async () => {
    assert.match((await ask(via("many"), { host })).text, new RegExp(`"name":"${name}"`));
  });
}

for (const host of ["other", "127.0.0.1", "right.other-ns", "right.photo-ns.svc.cluster.local.evil"]) {
  test(`with several services on a listener, the host ${host} is nobody`, { skip }, async () => {
    assert.equal((await ask(via("many"), { host })).status, 404);
  });
}

test("with one service on a listener every host leads there, and is passed on as it is", { skip }, async () => {
  const { text } = await ask(via("right"), { host: "127.0.0.1:9" });
  assert.match(text, /"host":"127\.0\.0\.1:9"/);
});

test("the application cannot speak of client certificates", { skip }, async () => {
  const { text } = await ask(via("right"), { headers: [["x-forwarded-client-cert", `URI=${B}`]] });
  assert.doesNotMatch(text, /x-forwarded-client-cert/);
});

test("a listener on a Unix socket serves", { skip }, async () => {
  const socket = connect(join(folder.path, "out.sock"));
  await once(socket, "connect");
  const received = readAll(socket);
  socket.write("x");
  assert.equal(await received, "tcp a");
});

test("Envoy refused nothing of all this", { skip }, () => {
  assert.deepEqual(scenario.controlPlane.nacks, []);
});
