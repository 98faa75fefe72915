import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, test } from "node:test";
import { Http1Connection } from "./http1-connection.ts";
import type { RequestHead, ResponseSink, UpstreamFailure } from "./message.ts";

let server: Server;
let received: { text: string };
let socket: Socket;
let connection: Http1Connection;

beforeEach(async () => {
  const box = { text: "" };
  received = box;
  server = createServer((endpoint) => {
    endpoint.on("error", () => undefined);
    endpoint.on("data", (chunk: Buffer) => {
      box.text += chunk.toString("latin1");
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  connection = new Http1Connection(socket, { onIdle: () => undefined, onClosed: () => undefined }, 60_000);
});
afterEach(() => {
  socket.destroy();
  server.close();
});

function head(partial: Partial<RequestHead> = {}): RequestHead {
  return {
    method: "POST",
    authority: "backend",
    path: { path: "/a", query: "?b" },
    headers: ["x-a", "1"],
    bodyLength: 4,
    webSocket: false,
    expectsContinue: false,
    ...partial,
  };
}

function sinkFor(onFailure: (failure: UpstreamFailure) => void): ResponseSink {
  return {
    onHead: () => undefined,
    onUpgrade: () => undefined,
    onData: () => true,
    onEnd: () => undefined,
    onWritable: () => undefined,
    onFailure,
  };
}

test("a value with a line break never becomes a line, whatever parser let it through", () => {
  for (const value of ["1\r\nx-b: 2", "1\nx-b: 2", "1\rx-b: 2"]) {
    assert.throws(
      () =>
        connection.send(
          head({ headers: ["x-a", value] }),
          sinkFor(() => undefined),
        ),
      { code: "invalid-argument" },
    );
  }
});

for (const [what, pieces] of [
  ["longer", ["ab", "cde"]],
  ["shorter", ["ab"]],
] as const) {
  test(`a body that is ${what} than announced ends the connection, so that it is not read as another request`, async () => {
    const failure = Promise.withResolvers<UpstreamFailure>();
    const request = connection.send(head(), sinkFor(failure.resolve));
    for (const piece of pieces) request.write(Buffer.from(piece));
    request.end([]);
    assert.deepEqual(await failure.promise, { reason: `the request's body is ${what} than announced`, mayRetry: false });
    if (!socket.closed) await once(socket, "close");
    assert.doesNotMatch(received.text, /cde/);
  });
}

test("a body of unknown length is sent in chunks, with its trailers", async () => {
  const request = connection.send(
    head({ bodyLength: undefined }),
    sinkFor(() => undefined),
  );
  request.write(Buffer.from("hello"));
  request.write(Buffer.alloc(16, "x"));
  request.end(["x-sum", "1"]);
  const expected = `POST /a?b HTTP/1.1\r\nhost: backend\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\n${"x".repeat(16)}\r\n0\r\nx-sum: 1\r\n\r\n`;
  while (received.text.length < expected.length) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(received.text, expected);
});
