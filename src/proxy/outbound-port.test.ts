import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { type Application, startApplication } from "../../test/fakes/http-application.ts";
import { call, call2, http2Session, plainSocket, readAll } from "../../test/fakes/http-clients.ts";
import {
  BACKEND,
  FRONTEND,
  INTRUDER,
  inboundListener,
  makeProxy,
  type ProxyUnderTest,
  workloadPolicy,
} from "../../test/fakes/proxy-setup.ts";
import type { OutboundListener, ServiceEndpoint, UpstreamService } from "../compile/workload-policy.ts";
import type { Protocol } from "../policy/model.ts";

/** The proxy under test is the frontend's; `remote` is the backend's, in front of `application`. */
let application: Application;
let remote: ProxyUnderTest;
let setup: ProxyUnderTest;

beforeEach(async () => {
  application = await startApplication();
  remote = makeProxy();
  await serveRemote();
  setup = makeProxy({ ca: remote.ca, identity: FRONTEND, limits: { connectMs: 2_000 } });
});
afterEach(async () => {
  await setup.proxy.close(0);
  await remote.proxy.close(0);
  await application.close();
});

function serveRemote(protocol: Protocol = "http", port = application.port): Promise<void> {
  return remote.proxy.apply(workloadPolicy({ inbound: [inboundListener(port, { protocol })] }));
}

function endpoint(port: number, partial: Partial<ServiceEndpoint> = {}): ServiceEndpoint {
  return { address: "127.0.0.1", port, identity: BACKEND, mtls: true, ...partial };
}

function service(endpoints: readonly ServiceEndpoint[], partial: Partial<UpstreamService> = {}): UpstreamService {
  const { service: name = "photo-ns/photo-backend", port = 80 } = partial;
  const [namespace, short] = name.split("/");
  const host = `${short}.${namespace}.svc.cluster.local`;
  return { service: name, host, port, portName: "http", protocol: "http", sni: `outbound_.${port}_._.${host}`, endpoints, ...partial };
}

function apply(services: readonly UpstreamService[], partial: Partial<OutboundListener> = {}): Promise<void> {
  const bind = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;
  const outbound = [{ name: "outbound", bind, protocol: services[0]?.protocol ?? "http", services, ...partial }];
  return setup.proxy.apply(workloadPolicy({ workload: "photo-ns/photo-frontend", identity: FRONTEND, outbound }));
}

const get = (host = "photo-backend", path = "/") =>
  call({ port: setup.port("outbound"), path, headers: { host, "x-forwarded-client-cert": "URI=spiffe://a" } });

/** A TLS server that presents what a test wants and notes what it is sent. */
async function impostor(
  identity: string,
  ca = setup.ca,
  keepAlive = false,
): Promise<{ readonly port: number; readonly received: () => string; readonly hellos: TLSSocket[]; readonly close: () => void }> {
  const { key, chain } = ca.material(identity);
  let received = "";
  const hellos: TLSSocket[] = [];
  const server = createTlsServer(
    { key, cert: chain, ca: ca.rootPem, requestCert: true, rejectUnauthorized: false, ALPNCallback: ({ protocols }) => protocols[0] },
    (socket) => {
      hellos.push(socket);
      socket.on("error", () => undefined);
      socket.on("data", (chunk: Buffer) => {
        received += chunk.toString();
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        if (!keepAlive) socket.end();
      });
    },
  );
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: (server.address() as AddressInfo).port, received: () => received, hellos, close: () => void server.close() };
}

/** A port on which nobody listens. */
async function deadPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

describe("the application's request", () => {
  test("goes to an endpoint's second address where its first does not answer, and there too nobody else may answer", async () => {
    const port = remote.port();
    await apply([service([endpoint(port, { address: "127.0.0.2", secondAddress: "127.0.0.1" })])]);
    assert.equal((await get()).status, 200);
    await apply([service([endpoint(port, { address: "127.0.0.2", secondAddress: "127.0.0.1", identity: INTRUDER })])]);
    assert.equal((await get()).status, 503);
  });

  test("reaches the service by mutual TLS, as this workload and nobody else", async () => {
    await apply([service([endpoint(remote.port())])]);
    const { status, body } = await get("whatever:80", "/photos?x");
    const { url, headers } = JSON.parse(body.toString());
    assert.deepEqual([status, url, headers.host], [200, "/photos?x", "whatever:80"]);
    assert.match(headers["x-forwarded-client-cert"], new RegExp(`URI=${FRONTEND}$`));
    assert.equal((await remote.keeper.next()).caller, FRONTEND);
  });
  test("keeps its connection for the next one", async () => {
    const server = await impostor(BACKEND, setup.ca, true);
    await apply([service([endpoint(server.port)])]);
    for (let index = 0; index < 5; index++) assert.equal((await get()).status, 200);
    assert.equal(server.hellos.length, 1);
    server.close();
  });
  test("goes out with Istio's server name and protocol names", async () => {
    const server = await impostor(BACKEND);
    await apply([service([endpoint(server.port)])]);
    await get();
    const [hello] = server.hellos;
    assert.deepEqual(
      [hello?.servername, hello?.alpnProtocol],
      ["outbound_.80_._.photo-backend.photo-ns.svc.cluster.local", "istio-http/1.1"],
    );
    server.close();
  });
  test("comes in through a Unix socket as well", async () => {
    const folder = mkdtempSync(join(tmpdir(), "gp-"));
    const path = join(folder, "out.sock");
    await apply([service([endpoint(remote.port())])], { bind: { kind: "unix", path } });
    const { status } = await call({ port: 0, socketPath: path, headers: { host: "a" } });
    assert.equal(status, 200);
    rmSync(folder, { recursive: true });
  });
  test("by HTTP/2 in clear text reaches an HTTP/2 service, with trailers", async () => {
    const server = createHttp2Server();
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.respond({ ":status": 200, "x-path": headers[":path"] }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.pipe(stream);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    await serveRemote("http2", (server.address() as AddressInfo).port);
    await apply([service([endpoint(remote.port())], { protocol: "http2" })]);
    const session = await http2Session(setup.port("outbound"), undefined);
    const answers = await Promise.all(
      [1, 2, 3].map((n) => call2(session, { ":path": `/${n}`, ":method": "POST" }, Buffer.from(`body ${n}`))),
    );
    session.close();
    assert.deepEqual(
      answers.map(({ body, headers, trailers }) => [String(body), headers["x-path"], trailers["grpc-status"]]),
      [1, 2, 3].map((n) => [`body ${n}`, `/${n}`, "0"]),
    );
    server.close();
  });
  test("that is malformed is refused here already", async () => {
    await apply([service([endpoint(remote.port())])]);
    const socket = await plainSocket(setup.port("outbound"));
    socket.write("GET a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert.match(await readAll(socket), /^HTTP\/1\.1 400 /);
  });
});

describe("secure naming", () => {
  const wrong: readonly (readonly [
    string,
    () => Promise<{ readonly port: number; readonly received: () => string; readonly close: () => void }>,
    RegExp,
  ])[] = [
    [
      "another workload's certificate",
      () => impostor(INTRUDER),
      new RegExp(`^secure naming: the server is \`${INTRUDER}\`, not \`${BACKEND}\`, at 127`),
    ],
    ["an identity that only begins like the right one", () => impostor(`${BACKEND}-2`), /^secure naming: the server is /],
    [
      "a certificate of another CA",
      () => impostor(BACKEND, new FakeCa("other")),
      /^secure naming: the certificate at 127\.0\.0\.1:\d+ is not trusted$/,
    ],
  ];
  for (const [what, start, detail] of wrong) {
    test(`refuses a server with ${what} before one byte is sent`, async () => {
      const server = await start();
      await apply([service([endpoint(server.port)])]);
      const { status, body } = await get();
      const record = await setup.keeper.next();
      assert.deepEqual([status, server.received()], [503, ""]);
      assert.match(body.toString(), /^upstream connect error or disconnect\/reset before headers\. reset reason: secure naming/);
      assert.match(record.detail ?? "", detail);
      assert.deepEqual(
        [record.effect, record.caller, record.service, record.port],
        ["refused", FRONTEND, "photo-ns/photo-backend", server.port],
      );
      server.close();
    });
  }
  test("is for each endpoint: another endpoint's identity does not do", async () => {
    const server = await impostor(INTRUDER);
    await apply([service([endpoint(server.port), endpoint(await deadPort(), { identity: INTRUDER })])]);
    assert.equal((await get()).status, 503);
    assert.equal(server.received(), "");
    server.close();
  });
  test("passes over the wrong server where another one is right", async () => {
    const server = await impostor(INTRUDER);
    await apply([service([endpoint(server.port), endpoint(remote.port())])]);
    assert.deepEqual([(await get()).status, (await get()).status, server.received()], [200, 200, ""]);
    server.close();
  });
  test("closes a TCP connection whose server is the wrong one", async () => {
    const server = await impostor(INTRUDER);
    await apply([service([endpoint(server.port)], { protocol: "tcp" })]);
    const socket = await plainSocket(setup.port("outbound"));
    socket.write("SECRET");
    assert.equal(await readAll(socket), "");
    const { effect, protocol } = await setup.keeper.next();
    assert.deepEqual([effect, protocol, server.received()], ["refused", "tcp", ""]);
    server.close();
  });
  test("an endpoint whose identity changes is asked anew, whatever connections were kept", async () => {
    await apply([service([endpoint(remote.port())])]);
    assert.equal((await get()).status, 200);
    await apply([service([endpoint(remote.port(), { identity: INTRUDER })])]);
    assert.equal((await get()).status, 503);
  });
});

describe("endpoints", () => {
  test("take turns", async () => {
    const second = makeProxy({ ca: setup.ca });
    const other = await startApplication();
    await second.proxy.apply(workloadPolicy({ inbound: [inboundListener(other.port)] }));
    await apply([service([endpoint(remote.port()), endpoint(second.port())])]);
    for (let index = 0; index < 6; index++) await get();
    assert.deepEqual([application.seen.length, other.seen.length], [3, 3]);
    await second.proxy.close(0);
    await other.close();
  });
  test("that cannot be connected to are passed over, and none at all gives 503", async () => {
    const dead = await deadPort();
    await apply([service([endpoint(dead), endpoint(remote.port())])]);
    assert.deepEqual([(await get()).status, (await get()).status, (await get()).status], [200, 200, 200]);
    await apply([service([endpoint(dead)])]);
    assert.equal((await get()).status, 503);
    await apply([service([])]);
    const { status, body } = await get();
    assert.deepEqual([status, String(body).endsWith("no endpoint serves photo-ns/photo-backend")], [503, true]);
  });
  test("that failed are left alone for a while where another one serves", async () => {
    let attempts = 0;
    const broken = createServer((socket) => {
      attempts += 1;
      socket.destroy();
    }).listen(0, "127.0.0.1");
    await once(broken, "listening");
    await apply([service([endpoint((broken.address() as AddressInfo).port), endpoint(remote.port())])]);
    for (let index = 0; index < 6; index++) assert.equal((await get()).status, 200);
    assert.equal(attempts, 1);
    broken.close();
  });
  test("whose mode is DISABLE are reached in plaintext, and no others", async () => {
    await apply([service([endpoint(application.port, { mtls: false })])]);
    assert.equal((await get()).status, 200);
    await apply([service([endpoint(application.port)])]);
    assert.equal((await get()).status, 503);
  });
  test("that refuse this workload's certificate give 503", async () => {
    await remote.proxy.apply(workloadPolicy({ inbound: [inboundListener(application.port)], trustDomains: ["other.example"] }));
    await apply([service([endpoint(remote.port())])]);
    assert.equal((await get()).status, 503);
    assert.deepEqual(application.seen, []);
  });
});

describe("one listener for several services", () => {
  beforeEach(() =>
    apply([
      service([endpoint(remote.port())]),
      service([], { service: "datastore-ns/datastore" }),
      service([], { service: "datastore-ns/photo-backend" }),
    ]),
  );

  for (const host of [
    "photo-backend",
    "photo-backend.photo-ns",
    "Photo-Backend.photo-ns.svc",
    "photo-backend.photo-ns.svc.cluster.local",
    "photo-backend:80",
    "photo-backend.photo-ns:17081",
  ]) {
    test(`\`${host}\` is the service of that name in this namespace`, async () => {
      assert.equal((await get(host)).status, 200);
    });
  }
  test("a service of another namespace is called with that namespace", async () => {
    assert.deepEqual([(await get("datastore.datastore-ns")).status, (await get("photo-backend.datastore-ns.svc")).status], [503, 503]);
    assert.equal((await get("datastore")).status, 404);
  });
  test("an unknown host gets 404 that names it", async () => {
    const { status, body } = await get("nobody.example:80");
    assert.deepEqual([status, String(body)], [404, "no service at this listener is called nobody.example"]);
  });
});

test("a TCP service is reached with half-close in both directions", async () => {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    socket.on("end", () => socket.end(`got ${text}`));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  await serveRemote("tcp", (server.address() as AddressInfo).port);
  await apply([service([endpoint(remote.port())], { protocol: "tcp" })]);
  const socket = await plainSocket(setup.port("outbound"), true);
  socket.end("ping");
  assert.equal(await readAll(socket), "got ping");
  server.close();
});
