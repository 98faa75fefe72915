import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect, createServer as createTcp } from "node:net";
import { describe, type TestContext, test } from "node:test";
import { Server as GrpcServer, ServerCredentials } from "@grpc/grpc-js";
import { type AppProbe, parseAppProbes } from "./app-probes.ts";
import { startProbeServer } from "./probe-server.ts";

const HOST = "127.0.0.1";

/** Asks one probe through a server; the status, and what is said. */
async function ask(t: TestContext, probe: AppProbe | undefined, path = "/app-health/app/livez", isReady = true): Promise<string> {
  const probes = new Map(probe === undefined ? [] : [["/app-health/app/livez", probe] as const]);
  const server = await startProbeServer({ host: HOST, port: 0, application: HOST, probes, isReady: () => Promise.resolve(isReady) });
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const answer = await fetch(`http://${HOST}:${port}${path}`);
  return `${answer.status} ${(await answer.text()).trim()}`;
}

async function httpApplication(t: TestContext, answer: (request: IncomingMessage) => number | undefined): Promise<number> {
  const server = createServer((request, response) => {
    const status = answer(request);
    if (status !== undefined) response.writeHead(status, { location: "/elsewhere" }).end("secret");
  }).listen(0, HOST);
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

const http = (port: number, more: Partial<Extract<AppProbe, { kind: "http" }>> = {}): AppProbe => ({
  kind: "http",
  scheme: "HTTP",
  port,
  path: "/live?x=1",
  headers: [],
  timeoutSeconds: 1,
  ...more,
});

test("who never ends a request is sent away soon after its time, and not half a minute later", { timeout: 25_000 }, async (t) => {
  const server = await startProbeServer({ host: HOST, port: 0, application: HOST, probes: new Map(), isReady: async () => true });
  t.after(() => server.close());
  const socket = connect((server.address() as AddressInfo).port, HOST, () => socket.write("GET / HTTP/1.1\r\n"));
  socket.resume();
  socket.on("error", () => undefined);
  await once(socket, "close");
});

describe("the node's probes of the application", { timeout: 30_000 }, () => {
  test("ask what the node would ask, from the address that is not captured", async (t) => {
    let asked: unknown;
    const port = await httpApplication(t, ({ method, url, headers, socket }) => {
      asked = [method, url, headers["x-probe"], headers.host, socket.remoteAddress];
      return 204;
    });
    assert.equal(
      await ask(
        t,
        http(port, {
          headers: [
            ["X-Probe", "a"],
            ["Host", "app.example"],
          ],
        }),
      ),
      "200 ok",
    );
    assert.deepEqual(asked, ["GET", "/live?x=1", "a", "app.example", "127.0.0.6"]);
  });

  test("tell a failure by its status alone, and take a redirect for an answer", async (t) => {
    assert.equal(await ask(t, http(await httpApplication(t, () => 500))), "500 the application answered 500");
    assert.equal(await ask(t, http(await httpApplication(t, () => 302))), "200 ok");
  });

  test("end in time, whatever the application does", async (t) => {
    assert.equal(await ask(t, http(await httpApplication(t, () => undefined))), "504 the application did not answer in time");
  });

  test("tell where nothing listens, and where something does", async (t) => {
    const server = createTcp().listen(0, HOST);
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    assert.equal(await ask(t, { kind: "tcp", port, timeoutSeconds: 1 }), "200 ok");
    server.close();
    await once(server, "close");
    assert.equal(await ask(t, { kind: "tcp", port, timeoutSeconds: 1 }), "503 the application cannot be reached: ECONNREFUSED");
    assert.equal(await ask(t, http(port)), "503 the application cannot be reached: ECONNREFUSED");
    assert.equal(
      await ask(t, { kind: "grpc", port, service: "", timeoutSeconds: 1 }),
      "503 the application cannot be reached: ECONNREFUSED",
    );
  });

  test("speak the protocol of gRPC's health checks to a real server of it", async (t) => {
    const server = new GrpcServer();
    const bytes = (value: Buffer) => value;
    const check = {
      path: "/grpc.health.v1.Health/Check",
      requestStream: false,
      responseStream: false,
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    };
    // SERVING for `cart`, NOT_SERVING for any other.
    server.addService(
      { check },
      {
        check: ({ request }: { request: Buffer }, reply: (error: null, value: Buffer) => void) =>
          reply(null, Buffer.from([8, request.toString("latin1") === "\n\u0004cart" ? 1 : 2])),
      },
    );
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`${HOST}:0`, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    t.after(() => server.forceShutdown());
    assert.equal(await ask(t, { kind: "grpc", port, service: "cart", timeoutSeconds: 1 }), "200 ok");
    assert.equal(
      await ask(t, { kind: "grpc", port, service: "", timeoutSeconds: 1 }),
      "503 the application says that it is not serving (2)",
    );
  });

  test("are those that were told, and say whether the proxy is ready", async (t) => {
    assert.equal(await ask(t, undefined), "404 there is no such probe");
    assert.equal(await ask(t, http(1), "/app-health/app/readyz"), "404 there is no such probe");
    assert.equal(await ask(t, undefined, "/healthz/ready"), "200 ready");
    assert.equal(await ask(t, undefined, "/healthz/ready", false), "503 the proxy is not ready");
  });
});

describe("probes as they are written", () => {
  for (const [text, told] of [
    ["[]", /something else than a probe/],
    ["{", /is not JSON/],
    ['{"/etc/passwd": {"kind":"tcp","port":1,"timeoutSeconds":1}}', /at `\/etc\/passwd`/],
    ['{"/app-health/app/livez": {"kind":"tcp","port":0,"timeoutSeconds":1}}', /something else/],
    ['{"/app-health/app/livez": {"kind":"tcp","port":1,"timeoutSeconds":3600}}', /something else/],
    ['{"/app-health/app/livez": {"kind":"http","scheme":"HTTP","port":1,"path":"/ x","headers":[],"timeoutSeconds":1}}', /something else/],
    [
      '{"/app-health/app/livez": {"kind":"http","scheme":"HTTP","port":1,"path":"/","headers":[["a","b\\nc"]],"timeoutSeconds":1}}',
      /something else/,
    ],
    ['{"/app-health/app/livez": {"kind":"ftp","port":1,"timeoutSeconds":1}}', /something else/],
  ] as const) {
    test(`are refused as ${text}`, () => assert.throws(() => parseAppProbes(text), told));
  }
});
