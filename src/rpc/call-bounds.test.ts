import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type IncomingHttpHeaders } from "node:http2";
import { type TestContext, test } from "node:test";
import { Server, type ServerDuplexStream, type sendUnaryData, status } from "@grpc/grpc-js";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { until } from "../../test/fakes/processes.ts";
import { type CallBoundsOptions, callBounds } from "./call-bounds.ts";
import { RotatingTlsMaterial } from "./credentials.ts";
import { endCall } from "./status.ts";
import { openTlsPort } from "./tls-port.ts";

const bytes = (value: Buffer): Buffer => value;
const CODEC = { requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes };
const DEFINITION = {
  Ask: { path: "/test.T/Ask", requestStream: false, responseStream: false, ...CODEC },
  Follow: { path: "/test.T/Follow", requestStream: true, responseStream: true, ...CODEC },
};
/** An empty message of gRPC. */
const EMPTY = Buffer.alloc(5);

/** A client of HTTP/2 without a certificate, that leaves its calls open, and the calls that the server has in hand. */
async function serve(t: TestContext, bounds: CallBoundsOptions) {
  const ca = new FakeCa();
  const server = new Server(callBounds(bounds));
  const following = new Set<ServerDuplexStream<Buffer, Buffer>>();
  server.addService(DEFINITION, {
    Ask: (_call: unknown, callback: sendUnaryData<Buffer>) => callback(null, Buffer.of(7)),
    Follow: (call: ServerDuplexStream<Buffer, Buffer>) => following.add(call.on("error", () => undefined)),
  });
  const material = new RotatingTlsMaterial(ca.material("spiffe://cluster.local/ns/istio-system/sa/garrison"));
  const port = await openTlsPort(server, { listen: { host: "127.0.0.1", port: 0 }, material });
  const session = connect(`https://127.0.0.1:${port.port}`, { ca: ca.rootPem, checkServerIdentity: () => undefined });
  t.after(() => {
    session.destroy();
    port.close();
    server.forceShutdown();
  });
  await once(session, "remoteSettings");
  return { session, following };
}

function call(session: ClientHttp2Session, method: "Ask" | "Follow"): ClientHttp2Stream {
  const headers = { ":method": "POST", ":path": DEFINITION[method].path, "content-type": "application/grpc", te: "trailers" };
  return session.request(headers).on("error", () => undefined);
}

/** How it was answered, once the server has let go of it. */
async function ended(stream: ClientHttp2Stream): Promise<string> {
  let code: unknown;
  for (const event of ["response", "trailers"] as const)
    stream.on(event, (headers: IncomingHttpHeaders) => (code = headers["grpc-status"] ?? code));
  stream.resume();
  await once(stream, "close");
  return status[Number(code)] ?? "none";
}

test("a call whose request does not come, or not to its end, is ended, and forgotten though its client leaves it open", async (t) => {
  const { session } = await serve(t, { requestMs: 20, lingerMs: 20 });
  const [silent, unfinished] = [call(session, "Ask"), call(session, "Ask")];
  unfinished.write(EMPTY);
  assert.deepEqual(await Promise.all([ended(silent), ended(unfinished)]), ["DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"]);
});

test("a stream that was ended is forgotten though its client leaves it open, and one that is not stays", async (t) => {
  const { session, following } = await serve(t, { requestMs: 20, lingerMs: 20 });
  const [first, second] = [call(session, "Follow"), call(session, "Follow")];
  await until("both are open", () => following.size === 2);
  const [one, other] = following;
  assert.ok(one && other);
  endCall(one, undefined);
  assert.equal(await ended(first), "OK");
  const answer = call(session, "Ask");
  answer.end(EMPTY);
  assert.equal(await ended(answer), "OK");
  assert.equal(second.closed, false);
});

test("so many calls of a connection are open at one time, and no more", async (t) => {
  const { session, following } = await serve(t, { calls: 3 });
  assert.equal(session.remoteSettings.maxConcurrentStreams, 3);
  for (let count = 0; count < 10; count++) call(session, "Follow");
  await until("three are open", () => following.size === 3);
  const { promise, resolve } = Promise.withResolvers<void>();
  session.ping(() => resolve());
  await promise;
  assert.equal(following.size, 3);
});
