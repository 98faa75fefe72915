/** What a revocation ends of what is open: everything of that certificate, on either side of the proxy, and nothing of another. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createHttpServer, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, test } from "node:test";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { http2Session, peerOptions, tlsSocket } from "../../test/fakes/http-clients.ts";
import { BACKEND, FRONTEND, inboundListener, makeProxy, type ProxyUnderTest, workloadPolicy } from "../../test/fakes/proxy-setup.ts";
import type { InboundListener, OutboundListener, WorkloadPolicy } from "../compile/workload-policy.ts";
import { DEFAULT_MESH_TLS } from "../policy/mesh-config.ts";
import type { TlsMaterial } from "../rpc/credentials.ts";
import { certificateDigest, parseCertificates } from "../x509/certificate.ts";

function digestOf({ chain }: TlsMaterial): string {
  const [leaf] = parseCertificates(chain);
  assert.ok(leaf !== undefined);
  return certificateDigest(leaf);
}

const portOf = (server: { address(): unknown }) => (server.address() as AddressInfo).port;

async function listening<T extends ReturnType<typeof createServer>>(server: T): Promise<T> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  servers.push(server);
  return server;
}

const nextText = async (socket: Socket) => String((await once(socket, "data"))[0]);

let setup: ProxyUnderTest;
const servers: Server[] = [];
let thief: TlsMaterial;
let friend: TlsMaterial;

beforeEach(() => {
  setup = makeProxy();
  [thief, friend] = [setup.material(FRONTEND), setup.material(FRONTEND)];
});
afterEach(async () => {
  await setup.proxy.close(0);
  for (const server of servers.splice(0)) server.close();
});

describe("a revocation, of peers that have called", () => {
  const apply = (inbound: readonly InboundListener[], revoked: readonly string[] = []) =>
    setup.proxy.apply(workloadPolicy({ inbound, ...(revoked.length === 0 ? {} : { revoked }) }));

  test("cuts a response that is under way, says so in its record, and leaves the other's alone", async () => {
    const responses = new Map<string | undefined, ServerResponse>();
    const app = await listening(
      createHttpServer((request, response) => {
        responses.set(request.url, response);
        response.write("first");
      }),
    );
    const inbound = [inboundListener(portOf(app))];
    await apply(inbound);
    const open = async (material: TlsMaterial, path: string) => {
      const socket = await tlsSocket(setup.port(), peerOptions(material));
      socket.on("error", () => undefined);
      socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
      assert.match(await nextText(socket), /^HTTP\/1\.1 200 /);
      return socket;
    };
    const [cut, stays] = [await open(thief, "/thief"), await open(friend, "/friend")];
    const closed = once(cut, "close");
    await apply(inbound, [digestOf(thief)]);
    await closed;
    const { detail, status } = await setup.keeper.next(({ path }) => path === "/thief");
    assert.deepEqual([detail, status], ["cut: the caller's certificate was revoked", 200]);
    responses.get("/friend")?.write("second");
    assert.match(await nextText(stays), /second/);
    stays.destroy();
  });

  test("cuts streams of HTTP/2", async () => {
    const app = await listening(createHttpServer((_request, response) => void response.write("first")));
    const inbound = [inboundListener(portOf(app))];
    await apply(inbound);
    const [cut, stays] = await Promise.all([thief, friend].map((material) => http2Session(setup.port(), material)));
    assert.ok(cut !== undefined && stays !== undefined);
    const streams = [cut, stays].map((session) => session.on("error", () => undefined).request({ ":path": "/" }));
    await Promise.all(
      streams.map((stream) =>
        once(
          stream.on("error", () => undefined),
          "data",
        ),
      ),
    );
    const closed = once(cut, "close");
    await apply(inbound, [digestOf(thief)]);
    await closed;
    assert.deepEqual([stays.closed, streams[1]?.closed], [false, false]);
    stays.destroy();
  });

  test("cuts a connection of bytes, and one that was revoked before ends nobody's again", async () => {
    const echo = await listening(createServer((socket) => void socket.on("error", () => undefined).pipe(socket)));
    const inbound = [inboundListener(portOf(echo), { protocol: "tcp" })];
    await apply(inbound, ["ab".repeat(32)]);
    const [cut, stays] = await Promise.all([thief, friend].map((material) => tlsSocket(setup.port(), peerOptions(material))));
    assert.ok(cut !== undefined && stays !== undefined);
    for (const socket of [cut, stays]) {
      socket.on("error", () => undefined).write("ping");
      assert.equal(await nextText(socket), "ping");
    }
    const closed = once(cut, "close");
    await apply(inbound, ["ab".repeat(32), digestOf(thief)]);
    await closed;
    stays.write("pong");
    assert.equal(await nextText(stays), "pong");
    await apply(inbound, [digestOf(thief)]);
    stays.write("pong");
    assert.equal(await nextText(stays), "pong");
    stays.destroy();
  });
});

describe("a revocation, of servers that were called", () => {
  /** A server of the mesh that answers `first` and goes on for ever. */
  function tlsServer(material: TlsMaterial) {
    return createTlsServer(
      { key: material.key, cert: material.chain, ca: setup.ca.rootPem, requestCert: true, ALPNCallback: ({ protocols }) => protocols[0] },
      (socket: TLSSocket) => void socket.on("error", () => undefined).on("data", () => socket.write("first")),
    );
  }

  const server = async (material: TlsMaterial) =>
    portOf(await listening(tlsServer(material) as unknown as ReturnType<typeof createServer>));

  const listener = (name: string, ...ports: readonly number[]): OutboundListener => ({
    name,
    bind: { kind: "tcp", host: "127.0.0.1", port: 0 },
    protocol: "tcp",
    services: [
      {
        service: `photo-ns/${name}`,
        host: `${name}.photo-ns.svc.cluster.local`,
        port: 80,
        portName: "tcp",
        protocol: "tcp",
        sni: "a",
        endpoints: ports.map((port) => ({ address: "127.0.0.1", port, identity: BACKEND, mtls: true })),
      },
    ],
  });

  const dialled = (name: string) => connect(setup.port(name), "127.0.0.1").on("error", () => undefined);

  test("cuts what the application has open to it, and to no other", async () => {
    const [bad, good] = [setup.material(BACKEND), setup.material(BACKEND)];
    const outbound = [listener("bad", await server(bad)), listener("good", await server(good))];
    const policy = workloadPolicy({ identity: FRONTEND, outbound });
    await setup.proxy.apply(policy);
    const [cut, stays] = [dialled("bad"), dialled("good")];
    for (const socket of [cut, stays]) {
      socket.write("hello");
      assert.equal(await nextText(socket), "first");
    }
    const closed = once(cut, "close");
    await setup.proxy.apply({ ...policy, revoked: [digestOf(bad)] });
    await closed;
    stays.write("more");
    assert.equal(await nextText(stays), "first");
    stays.destroy();
  });

  const changes: readonly (readonly [string, (policy: WorkloadPolicy, other: number) => Partial<WorkloadPolicy>])[] = [
    ["the service has other endpoints", (_policy, other) => ({ outbound: [listener("bad", other)] })],
    ["TLS is spoken otherwise", ({ tls = DEFAULT_MESH_TLS }) => ({ tls: { ...tls, minVersion: "1.3" } })],
  ];
  for (const [what, change] of changes)
    test(`cuts what was opened before ${what}`, async () => {
      const [bad, good] = [setup.material(BACKEND), setup.material(BACKEND)];
      const policy = workloadPolicy({ identity: FRONTEND, outbound: [listener("bad", await server(bad))] });
      await setup.proxy.apply(policy);
      const cut = dialled("bad");
      cut.write("hello");
      assert.equal(await nextText(cut), "first");
      const changed = { ...policy, ...change(policy, await server(good)) };
      await setup.proxy.apply(changed);
      cut.write("more");
      assert.equal(await nextText(cut), "first");
      const closed = once(cut, "close");
      await setup.proxy.apply({ ...changed, revoked: [digestOf(bad)] });
      await closed;
    });

  test("refuses one that is revoked while it shakes hands, by its name, and the next endpoint serves", async () => {
    const [bad, good] = [setup.material(BACKEND), setup.material(BACKEND)];
    const [held, waiting] = [tlsServer(bad), createServer()];
    const policy = workloadPolicy({
      identity: FRONTEND,
      outbound: [listener("both", portOf(await listening(waiting)), await server(good))],
    });
    await setup.proxy.apply(policy);
    const accepted = once(waiting, "connection");
    const socket = dialled("both");
    socket.write("hello");
    const [shaking] = (await accepted) as [Socket];
    await setup.proxy.apply({ ...policy, revoked: [digestOf(bad)] });
    held.emit("connection", shaking);
    const { detail } = await setup.keeper.next(({ effect }) => effect === "refused");
    assert.match(detail ?? "", /^secure naming: the server's certificate is revoked, at 127\.0\.0\.1:/);
    assert.equal(await nextText(socket), "first");
    socket.destroy();
  });
});
