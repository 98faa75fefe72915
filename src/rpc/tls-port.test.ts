import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { Client, Server, type ServiceDefinition } from "@grpc/grpc-js";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { until } from "../../test/fakes/processes.ts";
import { CallQueue, type CallQueueOptions } from "./call-queue.ts";
import { clientCredentials, RotatingTlsMaterial, type TlsMaterial } from "./credentials.ts";
import { openTlsPort } from "./tls-port.ts";

const CALLER = "spiffe://cluster.local/ns/shop/sa/cart";
const bytes = (value: Buffer): Buffer => value;
const WHO = { path: "/test.Who/Who", requestStream: false, responseStream: false } as const;
const DEFINITION: ServiceDefinition = {
  Who: { ...WHO, requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes },
};

/** A server that answers with the names in the caller's verified certificate, behind a queue of handshakes. */
async function serve(t: TestContext, bounds: Partial<CallQueueOptions> = {}) {
  const ca = new FakeCa();
  const server = new Server();
  server.addService(DEFINITION, {
    Who: (
      call: { getAuthContext(): { sslPeerCertificate?: { subjectaltname?: string } } },
      callback: (error: null, answer: Buffer) => void,
    ) => callback(null, Buffer.from(call.getAuthContext().sslPeerCertificate?.subjectaltname ?? "nobody")),
  });
  const material = new RotatingTlsMaterial(ca.material("spiffe://cluster.local/ns/istio-system/sa/garrison"));
  const queue = new CallQueue({ concurrency: 2, capacity: 100, maxWaitMs: 60_000, ...bounds });
  const port = await openTlsPort(server, { listen: { host: "127.0.0.1", port: 0 }, material, queue });
  t.after(() => {
    port.close();
    server.forceShutdown();
  });
  return { ca, server, material, queue, port };
}

/** One call on a connection of its own, by a client that trusts `trusted` and has a certificate of `ca`. */
function ask(t: TestContext, port: number, ca: FakeCa, trusted = ca): { readonly answer: Promise<string>; readonly client: Client } {
  const own = new RotatingTlsMaterial(ca.material(CALLER));
  const credentials = clientCredentials(new RotatingTlsMaterial({ key: "", chain: "", roots: trusted.rootPem }), own, () => undefined);
  const options = { "grpc.ssl_target_name_override": "localhost", "grpc.use_local_subchannel_pool": 1 };
  const client = new Client(`127.0.0.1:${port}`, credentials, options);
  t.after(() => client.close());
  const answer = new Promise<string>((resolve, reject) => {
    const deadline = Date.now() + 20_000;
    client.makeUnaryRequest(WHO.path, bytes, String, Buffer.of(), { deadline }, (error, value) => {
      if (error === null) resolve(value ?? "");
      else reject(error);
    });
  });
  return { answer, client };
}

/** Connects and says nothing. */
async function stall(t: TestContext, port: number, localAddress = "127.0.0.1"): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  t.after(() => socket.destroy());
  socket.on("error", () => undefined);
  await once(socket, "connect");
  return socket;
}

test("a client is known by the certificate that the port verified; one without, or of another CA, is nobody", async (t) => {
  const { ca, port } = await serve(t);
  assert.equal(await ask(t, port.port, ca).answer, `URI:${CALLER}`);
  assert.equal(await ask(t, port.port, new FakeCa(), ca).answer, "nobody");
});

test("handshakes that never come to an end hold up nobody else", async (t) => {
  const { ca, port, queue } = await serve(t);
  for (let count = 0; count < 6; count++) await stall(t, port.port);
  await until("the stalled fill the turns", () => queue.status.running === 2 && queue.status.waiting > 0);
  assert.equal(await ask(t, port.port, ca).answer, `URI:${CALLER}`);
});

test("who is at one address with many connections is in nobody's way at another", async (t) => {
  const { ca, port, queue } = await serve(t, { concurrency: 1 });
  for (let count = 0; count < 40; count++) await stall(t, port.port, "127.0.0.2");
  await until("they wait", () => queue.status.waiting > 30);
  assert.equal(await ask(t, port.port, ca).answer, `URI:${CALLER}`);
  assert.ok(queue.status.waiting > 20, `${queue.status.waiting} of them wait still`);
});

test("what does not fit, or waits too long, is sent away at once, and nothing is kept of it", async (t) => {
  const { port, queue } = await serve(t, { concurrency: 1, capacity: 3, maxWaitMs: 0 });
  const sockets = await Promise.all(Array.from({ length: 8 }, () => stall(t, port.port)));
  await until("all have had their turn or were sent away", () => queue.status.running === 0 && queue.status.waiting === 0);
  assert.equal(queue.status.refused, 7);
  await until("they are told by the end of their connection", () => sockets.filter(({ destroyed }) => destroyed).length === 7);
});

test("the newest certificate and roots hold for the next handshake, and open connections go on", async (t) => {
  const { ca, material, port } = await serve(t);
  const before = ask(t, port.port, ca);
  await before.answer;
  const next = new FakeCa();
  material.update(next.material("spiffe://cluster.local/ns/istio-system/sa/garrison"));
  assert.equal(await ask(t, port.port, next).answer, `URI:${CALLER}`);
  await assert.rejects(ask(t, port.port, ca).answer, /UNAVAILABLE/);
  const again = new Promise((resolve, reject) =>
    before.client.makeUnaryRequest(WHO.path, bytes, String, Buffer.of(), (error, value) =>
      error === null ? resolve(value) : reject(error),
    ),
  );
  assert.equal(await again, `URI:${CALLER}`);
});

test("drained, connections end, and the next call has a new one; closed, there is none", async (t) => {
  const { ca, port, server } = await serve(t);
  const { client, answer } = ask(t, port.port, ca);
  await answer;
  const stalled = await stall(t, port.port);
  const channel = client.getChannel();
  port.drain(100);
  await until("the connection has ended", () => channel.getConnectivityState(false) !== 2);
  assert.equal(await ask(t, port.port, ca).answer, `URI:${CALLER}`);
  const ended = once(stalled, "close");
  port.close();
  await ended;
  await assert.rejects(stall(t, port.port), /ECONNREFUSED/);
  await new Promise<void>((resolve, reject) => server.tryShutdown((error) => (error === undefined ? resolve() : reject(error))));
});

test("plaintext, and TLS that speaks no HTTP/2, ends without an answer; the port goes on", async (t) => {
  const { ca, port } = await serve(t);
  const plain = await stall(t, port.port);
  plain.end("GET / HTTP/1.1\r\n\r\n");
  await once(plain, "close");
  const http1 = connectTls({ port: port.port, host: "127.0.0.1", rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
  await assert.rejects(once(http1, "secureConnect"));
  assert.equal(await ask(t, port.port, ca).answer, `URI:${CALLER}`);
});

test("a port that is taken is told, and nothing follows the certificates for it", async (t) => {
  const { ca, port } = await serve(t);
  const material = new (class extends RotatingTlsMaterial {
    followers = 0;

    override onUpdate(listener: (material: TlsMaterial) => void): () => void {
      const end = super.onUpdate(listener);
      this.followers += 1;
      return () => {
        this.followers -= 1;
        end();
      };
    }
  })(ca.material(CALLER));
  const server = new Server();
  t.after(() => server.forceShutdown());
  await assert.rejects(openTlsPort(server, { listen: { host: "127.0.0.1", port: port.port }, material }), /EADDRINUSE/);
  assert.equal(material.followers, 0);
});
