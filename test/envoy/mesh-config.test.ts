/** What the mesh's configuration says of TLS, paths, proxies in front and other names, in a real Envoy, in both directions. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { Server } from "node:net";
import { after, before, test } from "node:test";
import { type ConnectionOptions, connect as connectTls, type SecureVersion } from "node:tls";
import type { InboundListener, OutboundListener, ServiceEndpoint, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { DEFAULT_MESH_TLS } from "../../src/policy/mesh-config.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { ask, readAll, requestBytes } from "./client.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { freePort, LOOPBACK } from "./loopback.ts";
import { FRONTEND, inbound, policyOf, portOf, Scenario } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const ca = new FakeCa();
const A = "spiffe://cluster.local/ns/photo-ns/sa/a";
const OLD_A = "spiffe://old.example/ns/photo-ns/sa/a";

const echo = (request: IncomingMessage, response: ServerResponse): void => {
  response.end(JSON.stringify({ url: request.url, headers: request.headers }));
};
const app = createHttpServer(echo);

function peer(identity: string, maxVersion: SecureVersion = "TLSv1.3"): Server {
  const { key, chain, roots } = ca.material(identity);
  const alpn = { ALPNCallback: ({ protocols }: { protocols: readonly string[] }) => protocols.find((name) => name === "http/1.1") };
  return createHttpsServer({ key, cert: chain, ca: roots, requestCert: true, rejectUnauthorized: true, maxVersion, ...alpn }, echo);
}

const PEERS = { own: peer(A), alias: peer(OLD_A), other: peer("spiffe://old.example/ns/photo-ns/sa/b"), old: peer(A, "TLSv1.2") };
type PeerName = keyof typeof PEERS;

interface Running {
  readonly scenario: Scenario;
  readonly inbound: InboundListener;
  readonly outbound: Readonly<Record<PeerName, OutboundListener>>;
}

async function outboundTo(name: PeerName): Promise<OutboundListener> {
  const endpoint: ServiceEndpoint = { address: "127.0.0.1", port: portOf(PEERS[name]), identity: A, aliases: [OLD_A], mtls: true };
  const host = `${name}.photo-ns.svc.cluster.local`;
  const service = {
    service: `photo-ns/${name}`,
    host,
    port: 80,
    protocol: "http",
    sni: `outbound_.80_._.${host}`,
    endpoints: [endpoint],
  } as const;
  const port = await freePort();
  return { name: `outbound_${port}`, bind: { kind: "tcp", host: LOOPBACK, port }, protocol: "http", services: [service] };
}

async function start(settings: Partial<WorkloadPolicy>): Promise<Running> {
  const own = await inbound({ protocol: "http", mtls: "STRICT", endpoint: { kind: "tcp", host: "127.0.0.1", port: portOf(app) } });
  // One after the other: a port that is free for one must not be free for the next.
  const entries: [PeerName, OutboundListener][] = [];
  for (const name of Object.keys(PEERS) as readonly PeerName[]) entries.push([name, await outboundTo(name)]);
  const outbound = Object.fromEntries(entries) as Record<PeerName, OutboundListener>;
  const scenario = await Scenario.start(policyOf({ inbound: [own], outbound: Object.values(outbound), ...settings }), ca);
  return { scenario, inbound: own, outbound };
}

let strict: Running;
let lax: Running;

before(async () => {
  if (skip) return;
  for (const server of [app, ...Object.values(PEERS)]) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  strict = await start({
    trustDomains: ["cluster.local", "old.example"],
    pathNormalization: "DECODE_AND_MERGE_SLASHES",
    numTrustedProxies: 1,
    tls: { ...DEFAULT_MESH_TLS, minVersion: "1.3", ecdhCurves: ["X25519MLKEM768", "P-384"] },
  });
  lax = await start({
    pathNormalization: "NONE",
    tls: { minVersion: "1.2", cipherSuites: ["ECDHE-ECDSA-AES128-GCM-SHA256"], ecdhCurves: ["P-384", "P-256"] },
  });
});

after(async () => {
  await strict?.scenario.stop();
  await lax?.scenario.stop();
  for (const server of [app, ...Object.values(PEERS)]) server.close();
});

// === TLS, as a server ===

/** What the handshake came to, or how it failed. */
async function shake({ inbound: { port } }: Running, options: ConnectionOptions): Promise<string> {
  const { key, chain, roots } = ca.material(FRONTEND);
  const own = { key, cert: chain, ca: roots, checkServerIdentity: () => undefined };
  const socket = connectTls({ host: LOOPBACK, port, ...own, ...options });
  const received = readAll(socket, (text) => text.endsWith("}"));
  const done = once(socket, "secureConnect").then(
    () => {
      socket.write(requestBytes({}));
      return `${socket.getProtocol()} ${socket.getCipher().name} ${(socket.getEphemeralKeyInfo() as { name?: string } | null)?.name}`;
    },
    () => "",
  );
  const [said, agreed] = [await received, await done];
  return agreed === "" || !said.includes("200 OK") ? said : agreed;
}

test("`minProtocolVersion: TLSV1_3` refuses TLS 1.2", { skip }, async () => {
  assert.equal(await shake(strict, { maxVersion: "TLSv1.2" }), "ERROR ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
  assert.match(await shake(strict, {}), /^TLSv1\.3 /);
});

test("`ecdhCurves` are the only groups, the first one of ours that the client has", { skip }, async () => {
  assert.match(await shake(strict, { ecdhCurve: "P-384" }), /^TLSv1\.3 .* secp384r1$/);
  assert.match(await shake(strict, { ecdhCurve: "X25519" }), /^ERROR ERR_SSL_/);
  assert.match(await shake(lax, { maxVersion: "TLSv1.2", ecdhCurve: "P-521:P-384:P-256" }), /^TLSv1\.2 .* secp384r1$/);
});

test("`cipherSuites` are the only ones of TLS 1.2", { skip }, async () => {
  const with12 = (ciphers: string): Promise<string> => shake(lax, { maxVersion: "TLSv1.2", ciphers });
  assert.match(await with12("ECDHE-ECDSA-AES128-GCM-SHA256"), /^TLSv1\.2 ECDHE-ECDSA-AES128-GCM-SHA256 /);
  assert.match(await with12("ECDHE-ECDSA-AES256-GCM-SHA384"), /^ERROR ERR_SSL_/);
});

// === TLS, as a client, and who may answer ===

async function statusOf({ outbound }: Running, name: PeerName): Promise<number> {
  const { bind } = outbound[name];
  assert.ok(bind.kind === "tcp");
  return (await ask({ port: bind.port }, {})).status;
}

test("a server that speaks TLS 1.2 only is not called where 1.3 is the least", { skip }, async () => {
  assert.equal(await statusOf(strict, "own"), 200);
  assert.equal(await statusOf(strict, "old"), 503);
});

test("the same account may answer by an alias of its trust domain, and no other account", { skip }, async () => {
  assert.equal(await statusOf(strict, "alias"), 200);
  assert.equal(await statusOf(strict, "other"), 503);
});

test("a peer of an alias is let in, one of another trust domain is not", { skip }, async () => {
  const as = async (identity: string): Promise<string> => {
    const { key, chain } = ca.material(identity);
    return shake(strict, { key, cert: chain });
  };
  assert.match(await as("spiffe://old.example/ns/photo-ns/sa/frontend"), /^TLSv1\.3 /);
  assert.match(await as("spiffe://other.example/ns/photo-ns/sa/frontend"), /^ERROR ERR_SSL_/);
});

// === What the application gets ===

async function received({ inbound: { port } }: Running, path: string): Promise<{ url: string; headers: Record<string, string> }> {
  const tls = { material: ca.material(FRONTEND) };
  const headers = [
    ["X-Forwarded-For", "192.0.2.1, 192.0.2.2"],
    ["X-Forwarded-Proto", "http"],
  ] as const;
  const { status, text } = await ask({ port, tls }, { path, headers });
  assert.equal(status, 200);
  return JSON.parse(text.slice(text.indexOf("\r\n\r\n") + 4));
}

test("the path is forwarded as it is matched", { skip }, async () => {
  assert.equal((await received(strict, "/a%2F..%5cb//c?d=//%2F")).url, "/b/c?d=//%2F");
  assert.equal((await received(lax, "/a%2F../b//c?d=//%2F#e")).url, "/a%2F../b//c?d=//%2F");
});

test("X-Forwarded-For is passed on as it came, and the scheme is believed of trusted proxies only", { skip }, async () => {
  const [trusted, untrusted] = [await received(strict, "/"), await received(lax, "/")];
  for (const { headers } of [trusted, untrusted]) assert.equal(headers["x-forwarded-for"], "192.0.2.1, 192.0.2.2");
  assert.deepEqual([trusted.headers["x-forwarded-proto"], untrusted.headers["x-forwarded-proto"]], ["http", "https"]);
});

test("Envoy refused nothing of all this", { skip }, () => {
  for (const { scenario } of [strict, lax]) assert.deepEqual(scenario.controlPlane.nacks, []);
});
