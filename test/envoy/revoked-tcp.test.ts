/** Open connections through Envoy when a certificate is revoked: those of TCP ports end, those of HTTP ports go on. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server } from "node:net";
import { after, before, describe, test } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { enrol } from "../feature/caller.ts";
import { CLIENT, CLIENT_IDENTITY, pickPort } from "../feature/mesh.ts";
import { Place } from "../feature/place.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();
const place = new Place({ after });
let ports: { readonly tcp: number; readonly http: number };
let revoked: TlsMaterial;
let other: TlsMaterial;

function mesh(tcp: number, http: number, tcpApplication: number, httpApplication: number): string {
  return `apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: client, namespace: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: server, namespace: shop }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: server, namespace: shop }
spec: { address: 127.0.0.1, serviceAccount: server, labels: { app: server } }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: server, namespace: shop }
spec:
  workloadSelector: { labels: { app: server } }
  ingress:
    - { port: { number: ${tcp}, protocol: TCP, name: tcp }, defaultEndpoint: "127.0.0.1:${tcpApplication}" }
    - { port: { number: ${http}, protocol: HTTP, name: http }, defaultEndpoint: "127.0.0.1:${httpApplication}" }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
`;
}

async function listen(server: Server): Promise<void> {
  const port = await pickPort();
  place.after(() => server.close());
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
}

const portOf = (server: Server) => (server.address() as { readonly port: number }).port;

/** A peer's connection to a port of the server's proxy. */
class Peer {
  readonly socket: TLSSocket;
  readonly ended: Promise<unknown>;

  constructor(port: number, { key, chain, roots }: TlsMaterial) {
    this.socket = connect({
      host: "127.0.0.1",
      port,
      key,
      cert: chain,
      ca: roots,
      ALPNProtocols: ["istio"],
      checkServerIdentity: () => undefined,
    });
    this.socket.on("error", () => undefined);
    this.ended = once(this.socket, "close");
    place.after(() => this.socket.destroy());
  }

  /** What comes back first; nothing where the connection ends. */
  async say(text: string): Promise<string> {
    this.socket.write(text);
    return Promise.race([once(this.socket, "data").then(([bytes]) => String(bytes)), this.ended.then(() => "")]);
  }

  get(): Promise<string> {
    return this.say("GET / HTTP/1.1\r\nHost: server\r\n\r\n");
  }
}

describe("a revocation, under Envoy", { skip, timeout: 90_000 }, () => {
  before(async () => {
    if (skip) return;
    const echo = createServer((socket) => void socket.on("error", () => undefined).pipe(socket));
    const http = createHttpServer((_request, response) => void response.end("hello"));
    await Promise.all([listen(echo), listen(http)]);
    ports = { tcp: await pickPort(), http: await pickPort() };
    place.write("mesh.yaml", mesh(ports.tcp, ports.http, portOf(echo), portOf(http)));
    await place.serve();
    const agent = place.start(["run", "--workload", "shop/server", "--proxy", "envoy"]);
    await agent.line(/ proxy ready /);
    const token = async () => (await place.run("token", CLIENT)).stdout.trim();
    revoked = await enrol(place.controlPlane(), CLIENT_IDENTITY, await token());
    other = await enrol(place.controlPlane(), CLIENT_IDENTITY, await token());
  });

  test("ends open TCP connections, lets the others come back, and touches no HTTP connection", async () => {
    const [thief, friend] = [new Peer(ports.tcp, revoked), new Peer(ports.tcp, other)];
    const [thiefHttp, friendHttp] = [new Peer(ports.http, revoked), new Peer(ports.http, other)];
    for (const peer of [thief, friend]) assert.equal(await peer.say("ping"), "ping");
    for (const peer of [thiefHttp, friendHttp]) assert.match(await peer.get(), /^HTTP\/1\.1 200 /);

    const serial = parseCertificates(revoked.chain)[0]?.serial ?? "";
    const began = Date.now();
    const { exit, stderr } = await place.run("ca", "revoke", "--serial", serial);
    assert.equal(exit, 0, stderr);
    await Promise.all([thief.ended, friend.ended]);
    assert.ok(Date.now() - began < 20_000);

    assert.equal(await new Peer(ports.tcp, revoked).say("ping"), "");
    assert.equal(await new Peer(ports.tcp, other).say("ping"), "ping");
    assert.match(await friendHttp.get(), /^HTTP\/1\.1 200 /);
    assert.match(await thiefHttp.get(), /^HTTP\/1\.1 403 /);
  });

  test("of another certificate ends them again, and what is no revocation ends none", async () => {
    const peer = new Peer(ports.tcp, other);
    assert.equal(await peer.say("ping"), "ping");
    assert.equal((await place.run("ca", "revoke", "--serial", parseCertificates(revoked.chain)[0]?.serial ?? "")).exit, 0);
    place.write("account.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: third, namespace: shop }\n");
    await place.untilStatus("the account is there", ({ generation }) => generation > 1);
    assert.equal(await peer.say("ping"), "ping");
    assert.equal((await place.run("ca", "revoke", "--identity", CLIENT)).exit, 0);
    await peer.ended;
  });
});
