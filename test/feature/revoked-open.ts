/** What is open when a certificate is revoked: who is cut at once, and who goes on, through each kind of proxy. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import { createServer, type Server } from "node:net";
import { before, describe, test } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { parseCertificates } from "../../src/x509/certificate.ts";
import { pickPort } from "../fakes/ports.ts";
import { enrol } from "./caller.ts";
import type { Scope } from "./garrison.ts";
import { CLIENT, CLIENT_IDENTITY } from "./mesh.ts";
import { Place } from "./place.ts";
import type { ProxyFlags } from "./scene.ts";

export interface OpenConnectionsOptions {
  readonly skip?: string | false;
  /** The file's `after`. */
  readonly scope: Scope;
  /** Whether a revocation ends TCP connections of others too, who may come back. */
  readonly endsTcpOfAll: boolean;
  /** Whether a response of the revoked peer that is under way is cut. */
  readonly cutsResponses: boolean;
}

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

async function listen(place: Place, server: Server): Promise<void> {
  const port = await pickPort();
  place.after(() => server.close());
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
}

const portOf = (server: Server) => (server.address() as { readonly port: number }).port;

/** Answers with `hello`, and under `/endless` with a tick every 20 ms until the client goes. */
function application(): Server {
  return createHttpServer((request, response) => {
    if (request.url !== "/endless") {
      response.end("hello");
      return;
    }
    const timer = setInterval(() => response.write("tick"), 20);
    response.once("close", () => clearInterval(timer));
  });
}

/** A peer's connection to a port of the server's proxy. */
class Peer {
  readonly socket: TLSSocket;
  readonly ended: Promise<unknown>;

  constructor(place: Place, port: number, { key, chain, roots }: TlsMaterial) {
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

  /** What comes next; nothing where the connection ends. */
  async hear(): Promise<string> {
    return Promise.race([once(this.socket, "data").then(([bytes]) => String(bytes)), this.ended.then(() => "")]);
  }

  /** What comes back first; nothing where the connection ends. */
  async say(text: string): Promise<string> {
    this.socket.write(text);
    return this.hear();
  }

  get(path = "/"): Promise<string> {
    return this.say(`GET ${path} HTTP/1.1\r\nHost: server\r\n\r\n`);
  }
}

/** Under one kind of proxy. */
export function describeOpenConnections(name: string, flags: ProxyFlags, options: OpenConnectionsOptions): void {
  const { skip = false, scope, endsTcpOfAll, cutsResponses } = options;
  describe(`a revocation, under ${name}`, { skip, timeout: 90_000 }, () => {
    const place = new Place(scope);
    let ports: { readonly tcp: number; readonly http: number };
    let revoked: TlsMaterial;
    let other: TlsMaterial;
    const peer = (port: number, material: TlsMaterial) => new Peer(place, port, material);
    const revoke = async ({ chain }: TlsMaterial) => {
      const { exit, stderr } = await place.run("ca", "revoke", "--serial", parseCertificates(chain)[0]?.serial ?? "");
      assert.equal(exit, 0, stderr);
    };

    before(async () => {
      if (skip) return;
      const echo = createServer((socket) => void socket.on("error", () => undefined).pipe(socket));
      const http = application();
      await Promise.all([listen(place, echo), listen(place, http)]);
      ports = { tcp: await pickPort(), http: await pickPort() };
      place.write("mesh.yaml", mesh(ports.tcp, ports.http, portOf(echo), portOf(http)));
      await place.serve();
      const agent = place.start(["run", "--workload", "shop/server", ...flags]);
      await agent.line(/ proxy ready /);
      const token = async () => (await place.run("token", CLIENT)).stdout.trim();
      revoked = await enrol(place.controlPlane(), CLIENT_IDENTITY, await token());
      other = await enrol(place.controlPlane(), CLIENT_IDENTITY, await token());
    });

    test(`ends the peer's open TCP connections and ${endsTcpOfAll ? "lets the others come back" : "no other"}, and refuses its requests`, async () => {
      const [thief, friend] = [peer(ports.tcp, revoked), peer(ports.tcp, other)];
      const [thiefHttp, friendHttp] = [peer(ports.http, revoked), peer(ports.http, other)];
      const [thiefEndless, friendEndless] = [peer(ports.http, revoked), peer(ports.http, other)];
      for (const one of [thief, friend]) assert.equal(await one.say("ping"), "ping");
      for (const one of [thiefHttp, friendHttp]) assert.match(await one.get(), /^HTTP\/1\.1 200 /);
      for (const one of [thiefEndless, friendEndless]) assert.match(await one.get("/endless"), /^HTTP\/1\.1 200 /);

      await revoke(revoked);
      await thief.ended;
      await (endsTcpOfAll ? friend.ended : friend.say("ping").then((answer) => assert.equal(answer, "ping")));
      assert.equal(await peer(ports.tcp, revoked).say("ping"), "");
      assert.equal(await peer(ports.tcp, other).say("ping"), "ping");
      assert.match(await friendHttp.get(), /^HTTP\/1\.1 200 /);
      assert.match(await friendEndless.hear(), /tick/);
      await (cutsResponses ? thiefEndless.ended : thiefEndless.hear().then((more) => assert.match(more, /tick/)));
      // Where an idle connection was cut with the others, the peer makes another.
      assert.match(await (cutsResponses ? peer(ports.http, revoked) : thiefHttp).get(), /^HTTP\/1\.1 403 /);
    });

    test("of another certificate ends its connections too, and what is no revocation ends none", async () => {
      const open = peer(ports.tcp, other);
      assert.equal(await open.say("ping"), "ping");
      await revoke(revoked);
      place.write("account.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: third, namespace: shop }\n");
      await place.untilStatus("the account is there", ({ generation }) => generation > 1);
      assert.equal(await open.say("ping"), "ping");
      assert.equal((await place.run("ca", "revoke", "--identity", CLIENT)).exit, 0);
      await open.ended;
    });
  });
}
