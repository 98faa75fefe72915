import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { peerOptions, plainSocket, readAll, tlsSocket } from "../../test/fakes/http-clients.ts";
import {
  FRONTEND,
  fromPrincipal,
  INTRUDER,
  inboundListener,
  layers,
  makeProxy,
  type ProxyUnderTest,
  pathPrefix,
  rule,
  workloadPolicy,
} from "../../test/fakes/proxy-setup.ts";
import type { InboundListener, WorkloadPolicy } from "../compile/workload-policy.ts";

const ONLY_FRONTEND = layers({ allow: [rule("frontend", fromPrincipal(FRONTEND))] });

let server: Server;
let accepted: Socket[];
let serve: (socket: Socket) => void;
let setup: ProxyUnderTest;

beforeEach(async () => {
  accepted = [];
  serve = (socket) => socket.pipe(socket);
  server = createServer({ allowHalfOpen: true }, (socket) => {
    accepted.push(socket);
    socket.on("error", () => undefined);
    serve(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  setup = makeProxy({ limits: { firstByteMs: 100 } });
});
afterEach(async () => {
  await setup.proxy.close(0);
  for (const socket of accepted) socket.destroy();
  server.close();
});

const portOfServer = () => (server.address() as AddressInfo).port;

function apply(listener: Partial<InboundListener> = {}, policy: Partial<WorkloadPolicy> = { tcp: ONLY_FRONTEND }): Promise<void> {
  return setup.proxy.apply(workloadPolicy({ inbound: [inboundListener(portOfServer(), { protocol: "tcp", ...listener })], ...policy }));
}

function peer(identity: string, allowHalfOpen = false) {
  const options = {
    ...peerOptions(setup.material(identity)),
    ALPNProtocols: ["istio"],
    servername: "outbound_.6379_._.datastore",
    allowHalfOpen,
  };
  return tlsSocket(setup.port(), options);
}

test("an allowed caller's bytes are passed on, each side may end its own, and the record counts them", async () => {
  serve = (socket) => {
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    // Answers only when the client has ended its side.
    socket.on("end", () => socket.end(`got ${Buffer.concat(chunks).length}`));
  };
  await apply();
  const socket = await peer(FRONTEND, true);
  socket.end(Buffer.alloc(100_000));
  assert.equal(await readAll(socket), "got 100000");
  const record = await setup.keeper.next();
  assert.deepEqual([record.effect, record.origin, record.protocol, record.caller], ["allow", "photo-ns/frontend[0]", "tcp", FRONTEND]);
  assert.deepEqual([record.bytesReceived, record.bytesSent, record.port], [100_000n, 10n, setup.port()]);
  assert.match(record.tls ?? "", /^TLSv1\.3 TLS_AES_/);
});

test("the server may end its side first, and still read", async () => {
  const received = Promise.withResolvers<string>();
  serve = (socket) => {
    socket.end("bye");
    readAll(socket).then(received.resolve);
  };
  await apply();
  const socket = await peer(FRONTEND, true);
  await once(socket.resume(), "end");
  socket.end("late");
  assert.equal(await received.promise, "late");
});

test("another caller's connection is closed before the application hears of it", async () => {
  await apply();
  const socket = await peer(INTRUDER);
  socket.write("INFO\r\n");
  assert.equal(await readAll(socket), "");
  const record = await setup.keeper.next();
  assert.deepEqual([record.effect, record.origin, record.caller, accepted.length], ["deny", "default", INTRUDER, 0]);
});

test("large transfers arrive whole in both directions", async () => {
  await apply();
  const sent = randomBytes(20_000_000);
  const sum = createHash("sha256");
  const socket = await peer(FRONTEND, true);
  socket.on("data", (chunk: Buffer) => sum.update(chunk));
  socket.end(sent);
  await once(socket, "close");
  assert.equal(sum.digest("hex"), createHash("sha256").update(sent).digest("hex"));
});

test("a reader that stops holds the sender back", async () => {
  let written = 0;
  const held = Promise.withResolvers<void>();
  serve = (socket) => {
    let timer = setTimeout(held.resolve, 500);
    const more = () => {
      clearTimeout(timer);
      timer = setTimeout(held.resolve, 500);
      while (written < 400_000_000) {
        written += 1_000_000;
        if (!socket.write(Buffer.alloc(1_000_000))) return;
      }
    };
    socket.on("drain", more);
    more();
  };
  await apply();
  const socket = await peer(FRONTEND);
  socket.pause();
  await held.promise;
  socket.destroy();
  assert.ok(written < 100_000_000, `${written} bytes were taken from the application`);
});

describe("a new policy", () => {
  test("cuts open connections that it would deny, at once, and leaves the others", async () => {
    await apply({}, { tcp: layers() });
    const [denied, kept] = [await peer(INTRUDER), await peer(FRONTEND)];
    for (const socket of [denied, kept]) {
      socket.write("ping");
      await once(socket, "data");
    }
    // A connection that is cut may be reset.
    const closed = readAll(denied);
    await apply();
    await closed;
    kept.write("still");
    assert.equal(String((await once(kept, "data"))[0]), "still");
    kept.destroy();
    const record = await setup.keeper.next(({ caller }) => caller === INTRUDER);
    assert.deepEqual([record.effect, record.detail], ["allow", "cut by a new policy: default"]);
  });
  test("that takes the listener away ends its connections", async () => {
    await apply({}, { tcp: layers() });
    const socket = await peer(FRONTEND);
    const closed = once(socket.resume(), "close");
    await setup.proxy.apply(workloadPolicy());
    await closed;
    assert.equal(setup.proxy.portOf("inbound"), undefined);
  });
});

test("an application that is down closes the connection, and the record says why", async () => {
  await apply();
  server.close();
  await once(server, "close");
  const socket = await peer(FRONTEND);
  assert.equal(await readAll(socket), "");
  const record = await setup.keeper.next();
  assert.equal(record.effect, "allow");
  assert.match(record.detail ?? "", /^the application could not be reached: connection to 127\.0\.0\.1:\d+ failed$/);
});

describe("PERMISSIVE", () => {
  test("takes plaintext beside mutual TLS, without an identity", async () => {
    await apply({ mtls: "PERMISSIVE" });
    const plain = await plainSocket(setup.port());
    plain.write("hello");
    assert.equal(await readAll(plain), "");
    assert.equal((await setup.keeper.next()).caller, "");
    const socket = await peer(FRONTEND);
    socket.write("hello");
    assert.equal(String((await once(socket, "data"))[0]), "hello");
    socket.destroy();
  });
  test("passes TLS on that does not offer the mesh's protocols, as Envoy does, whatever certificate it has, and the record says so", async () => {
    serve = (socket) => socket.once("data", (chunk: Buffer) => socket.end(chunk.subarray(0, 1)));
    await apply({ mtls: "PERMISSIVE" }, { tcp: layers() });
    for (const offered of [{ ...peerOptions(setup.material(FRONTEND)), ALPNProtocols: ["h2"] }, { rejectUnauthorized: false }]) {
      const socket = connectTls({ host: "127.0.0.1", port: setup.port(), ...offered });
      // The application answers the handshake with one byte of it, and TLS ends there.
      const [error] = await once(socket, "error");
      assert.ok(error instanceof Error);
      const { caller, effect, origin, detail, tls } = await setup.keeper.next();
      assert.deepEqual(
        [caller, effect, origin, detail, tls],
        ["", "allow", "no-policy", "TLS that is not the mesh's, passed on as it is", ""],
      );
    }
  });
  test("holds such TLS to the rules of callers without an identity", async () => {
    await apply({ mtls: "PERMISSIVE" });
    const socket = connectTls({ host: "127.0.0.1", port: setup.port(), ...peerOptions(setup.material(FRONTEND)), ALPNProtocols: ["h2"] });
    await once(socket, "error");
    const { caller, effect, origin } = await setup.keeper.next();
    assert.deepEqual([caller, effect, origin, accepted.length], ["", "deny", "default", 0]);
  });
  test("that becomes STRICT while a client is in the middle of its first message passes none of it on", async () => {
    await apply({ mtls: "PERMISSIVE" }, { tcp: layers() });
    const socket = await plainSocket(setup.port());
    socket.write(Buffer.from([22, 3]));
    // What comes later has been served, so that this has been read.
    const later = await peer(FRONTEND);
    later.write("hello");
    await once(later, "data");
    await apply({ mtls: "STRICT" }, { tcp: layers() });
    accepted.length = 0;
    socket.write(Buffer.from([1, 0, 4, 2, 0, 0, 0]));
    const { effect, detail } = await setup.keeper.next((record) => record.effect === "refused");
    assert.match(detail ?? "", /^the TLS handshake failed/);
    assert.deepEqual([effect, accepted.length], ["refused", 0]);
    later.destroy();
  });
  test("has no record of who leaves in the middle of a first message, as health checks do", async () => {
    await apply({ mtls: "PERMISSIVE" });
    const gone = await plainSocket(setup.port());
    gone.end(Buffer.from([22, 3]));
    await once(gone.resume(), "close");
    const denied = await plainSocket(setup.port());
    denied.write("hello");
    await setup.keeper.next((record) => record.effect === "deny");
    assert.deepEqual(
      setup.keeper.records.map((record) => record.effect),
      ["deny"],
    );
    denied.destroy();
  });
  test("waits for no client whose application speaks first", async () => {
    serve = (socket) => void socket.write("220 ready");
    await apply({ mtls: "PERMISSIVE" }, { tcp: layers() });
    const plain = connect(setup.port(), "127.0.0.1");
    assert.equal(String((await once(plain, "data"))[0]), "220 ready");
    plain.destroy();
  });
});

test("the layers of HTTP say nothing about a TCP port", async () => {
  await apply({}, { http: layers({ deny: [rule("all")] }), tcp: layers({ deny: [rule("path", pathPrefix("/"))] }) });
  const socket = await peer(FRONTEND);
  socket.write("x");
  assert.equal(String((await once(socket, "data"))[0]), "x");
  socket.destroy();
});
