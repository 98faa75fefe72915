import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2, createServer as createHttp2Server, type ServerHttp2Session } from "node:http2";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { test } from "node:test";
import { stillHeld } from "../../test/fixture/collected.ts";
import { Http2Pool } from "./http2-pool.ts";
import { serveHttp2 } from "./http2-server.ts";
import { DEFAULT_LIMITS } from "./limits.ts";
import { NO_HEADERS, type RequestHead, type ResponseSink } from "./message.ts";

const HEAD: RequestHead = {
  method: "GET",
  authority: "backend",
  path: { path: "/", query: "" },
  headers: NO_HEADERS,
  bodyLength: 0,
  webSocket: false,
  expectsContinue: false,
};

const portOf = (server: { address(): unknown }) => (server.address() as AddressInfo).port;

/** A port whose connections speak HTTP/2 and have no requests, and what came of each. */
async function listening(): Promise<readonly [server: Server, sessions: WeakRef<ServerHttp2Session>[]]> {
  const sessions: WeakRef<ServerHttp2Session>[] = [];
  const options = { limits: DEFAULT_LIMITS, handle: () => undefined, onMalformed: () => undefined };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sessions.push(new WeakRef(serveHttp2(socket, undefined, "http", options)));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return [server, sessions];
}

async function clientOf(server: Server): Promise<ClientHttp2Session> {
  const client = connectHttp2(`http://127.0.0.1:${portOf(server)}`);
  await once(client, "remoteSettings");
  return client;
}

test("a connection of a client that has ended is forgotten, and does not wait for its idle time", { timeout: 30_000 }, async (t) => {
  const [server, sessions] = await listening();
  t.after(() => server.close());
  for (let count = 0; count < 5; count++) {
    const client = await clientOf(server);
    client.close();
    await once(client, "close");
  }
  assert.equal(sessions.length, 5);
  assert.equal(await stillHeld(sessions), 0);
});

test("a connection ends with its client's side, which a client that was killed ends", { timeout: 10_000 }, async (t) => {
  const [server] = await listening();
  t.after(() => server.close());
  const client = connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true });
  client.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
  await once(client, "data");
  client.end();
  client.resume();
  await once(client, "end");
});

test("a connection ends when nothing has moved for the idle time, and not before", { timeout: 10_000 }, async (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const [server, sessions] = await listening();
  t.after(() => server.close());
  const client = await clientOf(server);
  const session = sessions[0]?.deref() ?? assert.fail();
  const quarter = DEFAULT_LIMITS.idleMs / 4;
  for (let hours = 0; hours < 3; hours++) {
    t.mock.timers.tick(4 * quarter);
    await new Promise<void>((resolve) => client.ping(() => resolve()));
  }
  assert.equal(session.destroyed, false);
  t.mock.timers.tick(5 * quarter);
  assert.equal(session.destroyed, true);
  await once(client, "close");
});

/** A server that answers, and a pool of connections to it, each of which is dialled when `next` is called. */
async function pooled() {
  const server = createHttp2Server((_, response) => void response.end("ok")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const dials: (() => Promise<void>)[] = [];
  const dial = () =>
    new Promise<Socket>((resolve) =>
      dials.push(async () => {
        const socket = connect({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true });
        await once(socket, "connect");
        resolve(socket);
      }),
    );
  return { server, pool: new Http2Pool(dial, "http", DEFAULT_LIMITS), next: () => dials.shift()?.() };
}

/** The body of the answer, or why there is none. */
function answered(send: (sink: ResponseSink) => void): Promise<string> {
  let body = "";
  return new Promise((resolve) =>
    send({
      onHead: () => undefined,
      onUpgrade: () => undefined,
      onData: (chunk) => {
        body += chunk.toString();
        return true;
      },
      onEnd: () => resolve(body),
      onWritable: () => undefined,
      onFailure: ({ reason }) => resolve(reason),
    }),
  );
}

test("a connection that opens after its pool was closed ends with the requests that waited for it", { timeout: 10_000 }, async (t) => {
  const { server, pool, next } = await pooled();
  t.after(() => server.close());
  const opened = once(server, "session");
  const waiting = [1, 2].map(async () => {
    const connection = await pool.acquire(false);
    return answered((sink) => connection.send(HEAD, sink));
  });
  pool.close();
  await next();
  const [session] = (await opened) as [ServerHttp2Session];
  const over = once(session, "close");
  assert.deepEqual(await Promise.all(waiting), ["ok", "ok"]);
  await over;
});

test("a connection whose server has ended its side is used no more", { timeout: 10_000 }, async (t) => {
  const { server, pool, next } = await pooled();
  t.after(() => server.close());
  const raw = once(server, "connection");
  const acquiring = pool.acquire(false);
  await next();
  const first = await acquiring;
  const [socket] = (await raw) as [Socket];
  assert.equal(await answered((sink) => first.send(HEAD, sink)), "ok");
  assert.equal(pool.acquire(false), first);
  const closed = once(socket, "close");
  socket.end();
  await closed;
  const second = pool.acquire(false);
  await next();
  const connection = await second;
  assert.notEqual(connection, first);
  assert.equal(await answered((sink) => connection.send(HEAD, sink)), "ok");
  pool.close();
});
