import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import type { Server } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import type { AuthorizationLayers, InboundListener, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { parseIpBlock } from "../../src/policy/ip-block.ts";
import { renderEnvoy } from "../../src/render/envoy/render.ts";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { ask, type ClientOptions, HTTP_ALPN, open, requestBytes } from "./client.ts";
import { workFolder } from "./envoy-process.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { LOOPBACK } from "./loopback.ts";
import { BACKEND, clause, FRONTEND, inbound, policyOf, portOf, ruleWhen, Scenario } from "./scenario.ts";

const skip = skipWithoutEnvoy();

// === The workload: applications that tell what reaches them ===

const echoHttp = (request: IncomingMessage, response: { end(text: string): unknown }): void => {
  response.end(JSON.stringify({ url: request.url, headers: request.headers }));
};
const http = createHttpServer(echoHttp);
const http2 = createHttp2Server((request, response) => response.end(JSON.stringify({ url: request.url, headers: request.headers })));
const onSocket = createHttpServer(echoHttp);
const FRONTEND_ONLY = clause("principal", [{ kind: "exact", value: FRONTEND.slice("spiffe://".length) }]);
const HTTP_POLICY: AuthorizationLayers = {
  audit: [],
  deny: [
    ruleWhen("deny", 0, clause("path", [{ kind: "prefix", value: "/admin" }])),
    ruleWhen("deny", 1, clause("remoteIp", [{ kind: "ip", block: parseIpBlock("192.0.2.7") }])),
    ruleWhen("deny", 2, clause("sourceIp", [{ kind: "ip", block: parseIpBlock("127.0.0.5") }])),
  ],
  allow: [ruleWhen("frontend", 0, FRONTEND_ONLY), ruleWhen("public", 0, clause("path", [{ kind: "exact", value: "/public" }]))],
};
const folder = workFolder();
let scenario: Scenario;
let frontend: TlsMaterial;
let stranger: TlsMaterial;
let listeners: Readonly<Record<"strict" | "permissive" | "disabled" | "grpc" | "socket", InboundListener>>;

async function listen(server: Server, target: number | string = 0): Promise<void> {
  if (typeof target === "string") server.listen(target);
  else server.listen(target, "127.0.0.1");
  await once(server, "listening");
}

function policyWith(http: AuthorizationLayers): WorkloadPolicy {
  return policyOf({ inbound: Object.values(listeners), http });
}

before(async () => {
  if (skip) return;
  const path = join(folder.path, "app.sock");
  await Promise.all([listen(http), listen(http2), listen(onSocket, path)]);
  const at = (server: Server) => ({ kind: "tcp", host: "127.0.0.1", port: portOf(server) }) as const;
  listeners = {
    strict: await inbound({ protocol: "http", mtls: "STRICT", endpoint: at(http) }),
    permissive: await inbound({ protocol: "http", mtls: "PERMISSIVE", endpoint: at(http) }),
    disabled: await inbound({ protocol: "http", mtls: "DISABLE", endpoint: at(http) }),
    grpc: await inbound({ protocol: "http2", mtls: "STRICT", endpoint: at(http2) }),
    socket: await inbound({ protocol: "http", mtls: "STRICT", endpoint: { kind: "unix", path } }),
  };
  scenario = await Scenario.start(policyWith(HTTP_POLICY));
  frontend = scenario.ca.material(FRONTEND);
  stranger = scenario.ca.material("spiffe://cluster.local/ns/photo-ns/sa/stranger");
});

after(async () => {
  await scenario?.stop();
  for (const server of [http, http2, onSocket]) server.close();
  folder[Symbol.dispose]();
});

type ListenerName = keyof typeof listeners;

/** A client of a listener with a certificate of the mesh, as a sidecar. */
function peer(name: ListenerName, material: TlsMaterial, alpn: readonly string[] = HTTP_ALPN): ClientOptions {
  return { port: listeners[name].port, tls: { material, alpn } };
}

function plaintext(name: ListenerName): ClientOptions {
  return { port: listeners[name].port };
}

function bodyOf(text: string): string {
  return text.slice(text.indexOf("\r\n\r\n") + 4);
}

// === HTTP ===

test("a peer that a rule allows is served", { skip }, async () => {
  const { status, text } = await ask(peer("strict", frontend), { path: "/photos?x=1" });
  assert.equal(status, 200);
  assert.match(text, /"url":"\/photos\?x=1"/);
});

test("a peer that no rule allows gets 403 and Istio's words", { skip }, async () => {
  const { status, text } = await ask(peer("strict", stranger), { path: "/photos" });
  assert.equal(status, 403);
  assert.equal(bodyOf(text), "RBAC: access denied");
});

for (const path of ["/admin", "/admin/x?y", "/x/../admin", "/%61dmin", "/admin#fragment", "/./admin"]) {
  test(`DENY on /admin also holds for ${path}`, { skip }, async () => {
    assert.equal((await ask(peer("strict", frontend), { path })).status, 403);
  });
}

test("the path is forwarded as it was matched: normalized", { skip }, async () => {
  const { text } = await ask(peer("strict", frontend), { path: "/x/../photos/%41" });
  assert.match(text, /"url":"\/photos\/A"/);
});

test("the application hears of the real peer only, whatever the request says of client certificates", { skip }, async () => {
  const { text } = await ask(peer("strict", frontend), {
    headers: [["X-Forwarded-Client-Cert", "By=x;URI=spiffe://cluster.local/ns/kube-system/sa/admin"]],
  });
  const { headers } = JSON.parse(bodyOf(text).replace(/^[0-9a-f]+\r\n|\r\n0\r\n\r\n$/g, "")) as { headers: Record<string, string> };
  assert.match(headers["x-forwarded-client-cert"] ?? "", new RegExp(`^By=${BACKEND};Hash=[0-9a-f]{64};URI=${FRONTEND}$`));
});

test("a plaintext peer cannot speak of client certificates at all", { skip }, async () => {
  const { status, text } = await ask(plaintext("permissive"), {
    path: "/public",
    headers: [["X-Forwarded-Client-Cert", `URI=${FRONTEND}`]],
  });
  assert.equal(status, 200);
  assert.doesNotMatch(text, /forwarded-client-cert/);
});

test("X-Forwarded-For is passed on and not believed", { skip }, async () => {
  const { status, text } = await ask(peer("strict", frontend), { headers: [["X-Forwarded-For", "192.0.2.7"]] });
  assert.equal(status, 200);
  assert.match(text, /"x-forwarded-for":"192\.0\.2\.7"/);
});

test("the source address is the connection's", { skip }, async () => {
  assert.equal((await ask({ ...peer("strict", frontend), from: "127.0.0.5" })).status, 403);
});

test("a peer's x-envoy headers do not reach the application", { skip }, async () => {
  const { text } = await ask(peer("strict", frontend), {
    headers: [
      ["x-envoy-retry-on", "5xx"],
      ["x-envoy-max-retries", "100"],
    ],
  });
  assert.doesNotMatch(text, /x-envoy-retry-on|x-envoy-max-retries/);
});

test("HTTP/2 reaches an application that speaks HTTP/2", { skip }, async () => {
  const { key, chain, roots } = frontend;
  const session = connectHttp2(`https://${LOOPBACK}:${listeners.grpc.port}`, {
    createConnection: () =>
      connectTls({
        host: LOOPBACK,
        port: listeners.grpc.port,
        key,
        cert: chain,
        ca: roots,
        ALPNProtocols: ["istio-h2", "istio", "h2"],
        checkServerIdentity: () => undefined,
      }),
  });
  const stream = session.request({ ":path": "/photo.Service/Get" });
  const [headers] = await once(stream, "response");
  stream.resume();
  await once(stream, "close");
  session.close();
  assert.equal(headers[":status"], 200);
});

test("an application on a Unix socket is reached", { skip }, async () => {
  assert.equal((await ask(peer("socket", frontend))).status, 200);
});

// === Modes ===

test("PERMISSIVE takes mutual TLS and plaintext, and policies still tell them apart", { skip }, async () => {
  assert.equal((await ask(peer("permissive", frontend), { path: "/photos" })).status, 200);
  assert.equal((await ask(plaintext("permissive"), { path: "/photos" })).status, 403);
  assert.equal((await ask(plaintext("permissive"), { path: "/public" })).status, 200);
});

test("PERMISSIVE for HTTP refuses TLS that is not the mesh's", { skip }, async () => {
  assert.equal((await ask(peer("permissive", frontend, ["http/1.1"]))).status, 0);
});

test("DISABLE takes plaintext only", { skip }, async () => {
  assert.equal((await ask(plaintext("disabled"), { path: "/public" })).status, 200);
  assert.equal((await ask(peer("disabled", frontend), { path: "/public" })).status, 0);
});

// === Change ===

test("a change of policy holds for the next request of a connection that is open, and does not close it", { skip }, async () => {
  const socket = await open(peer("strict", frontend));
  const chunks: string[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk.toString("latin1")));
  const answer = async (): Promise<string> => {
    chunks.length = 0;
    socket.write(requestBytes({ path: "/photos" }, "keep-alive"));
    await once(socket, "data", { signal: AbortSignal.timeout(10_000) });
    return chunks.join("").slice(0, 12);
  };
  assert.equal(await answer(), "HTTP/1.1 200");
  const denied = { ...HTTP_POLICY, deny: [ruleWhen("all", 0, clause("path", [{ kind: "prefix", value: "/" }]))] };
  await scenario.controlPlane.serve(renderEnvoy(policyWith(denied)));
  let last = await answer();
  for (let tries = 0; last === "HTTP/1.1 200" && tries < 100; tries++) last = await answer();
  assert.equal(last, "HTTP/1.1 403");
  assert.equal(socket.destroyed, false);
  socket.destroy();
  await scenario.controlPlane.serve(renderEnvoy(policyWith(HTTP_POLICY)));
});

test("Envoy refused nothing of all this", { skip }, () => {
  assert.deepEqual(scenario.controlPlane.nacks, []);
});
