import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { type TestContext, test } from "node:test";
import { connect } from "node:tls";
import { tempFolder } from "../../../test/fixture/temp-folder.ts";
import { openAuthority } from "../../ca/authority.ts";
import { startServing } from "../../ca/serving.ts";
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/logger.ts";
import { DEFAULT_TRUST_DOMAIN } from "../../identity/trust-domain.ts";
import type { AdmissionRequest } from "./admission-review.ts";
import { type AdmissionHandlers, serveWebhooks } from "./webhook-server.ts";

const REQUEST = {
  uid: "1-2",
  operation: "CREATE",
  namespace: "shop",
  kind: { group: "g", version: "v1", kind: "K" },
  object: { spec: {} },
};

function review(more: Readonly<Record<string, unknown>> = {}) {
  return { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request: { ...REQUEST, ...more } };
}

/** A server with these handlers, and how to ask it. */
async function setUp(t: TestContext, handlers: AdmissionHandlers) {
  const authority = openAuthority({
    stateFolder: tempFolder(t),
    trustDomain: DEFAULT_TRUST_DOMAIN,
    clock: systemClock,
    logger: silentLogger,
  });
  const dnsNames = ["garrison.garrison-system.svc"];
  const serving = await startServing({ authority, clock: systemClock, logger: silentLogger, dnsNames });
  const server = await serveWebhooks({
    listen: { host: "127.0.0.1", port: 0 },
    material: serving.material,
    handlers,
    logger: silentLogger,
  });
  const agent = new Agent({ ca: authority.rootsPem, servername: "garrison.garrison-system.svc" });
  t.after(async () => {
    agent.destroy();
    await server.close();
    serving.close();
    authority.close();
  });
  const send = async (path: string, body: string, method = "POST") => {
    const outgoing = request({ host: "127.0.0.1", port: server.port, path, method, agent });
    // A server that has heard enough closes while more is sent.
    outgoing.on("error", () => undefined);
    outgoing.end(body);
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk);
    return {
      status: incoming.statusCode,
      body: JSON.parse(Buffer.concat(chunks).toString()) as { readonly response?: Record<string, unknown> },
    };
  };
  const ask = (path: string, value: unknown) => send(path, JSON.stringify(value));
  return { send, ask, port: server.port, serving };
}

test("a review is answered by the handler of its path, whatever the API server's query", async (t) => {
  const seen: AdmissionRequest[] = [];
  const { ask } = await setUp(t, {
    "/a": (request) => {
      seen.push(request);
      return { allowed: true, warnings: ["mind"] };
    },
    "/b": () => ({ allowed: false, message: "no", causes: [{ reason: "GAR0003", message: "no" }] }),
  });
  assert.deepEqual((await ask("/a?timeout=5s", review())).body, {
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    response: { uid: "1-2", allowed: true, warnings: ["mind"] },
  });
  assert.deepEqual(seen, [REQUEST]);
  const status = { code: 422, reason: "Invalid", message: "no", details: { causes: [{ reason: "GAR0003", message: "no" }] } };
  assert.deepEqual((await ask("/b", review())).body.response, { uid: "1-2", allowed: false, status });
});

test("another cluster's API server says by the path which it is, and nothing but a name is one", async (t) => {
  const seen: (string | undefined)[] = [];
  const { ask } = await setUp(t, {
    "/a": ({ cluster }) => {
      seen.push(cluster);
      return { allowed: true };
    },
  });
  await ask("/a/cluster/west_1.b?timeout=5s", review());
  assert.deepEqual(seen, ["west_1.b"]);
  for (const path of ["/a/cluster/", "/a/cluster/a%20b", "/a/cluster/a/net/b", `/a/cluster/${"w".repeat(129)}`, "/b/cluster/west"])
    assert.equal((await ask(path, review())).status, 404, path);
  assert.equal(seen.length, 1);
});

test("a change of the object is a JSON patch in base64", async (t) => {
  const patch = [{ op: "add", path: "/metadata/labels", value: { a: "b" } }] as const;
  const { ask } = await setUp(t, { "/mutate": () => ({ allowed: true, patch }) });
  const { response } = (await ask("/mutate", review())).body;
  assert.equal(response?.patchType, "JSONPatch");
  assert.deepEqual(JSON.parse(Buffer.from(String(response?.patch), "base64").toString()), patch);
});

test("more warnings than an API server passes on are counted, and long ones cut", async (t) => {
  const warnings = Array.from({ length: 30 }, () => "w".repeat(400));
  const { ask } = await setUp(t, { "/a": () => ({ allowed: true, warnings }) });
  const told = (await ask("/a", review())).body.response?.warnings as readonly string[];
  assert.deepEqual([told.length, told.at(-1)], [17, "and 14 more"]);
  assert.ok(told.every((text) => text.length <= 251));
});

for (const [what, path, body, method, status] of [
  ["to another path", "/x", JSON.stringify(review()), "POST", 404],
  ["to a name that every object has", "/constructor", JSON.stringify(review()), "POST", 404],
  ["by GET", "/a", "", "GET", 405],
  ["that is not JSON", "/a", "{", "POST", 400],
  ["of another version", "/a", JSON.stringify({ ...review(), apiVersion: "admission.k8s.io/v1beta1" }), "POST", 400],
  ["without a request", "/a", JSON.stringify({ apiVersion: "admission.k8s.io/v1" }), "POST", 400],
  ["of an operation that there is not", "/a", JSON.stringify(review({ operation: "PEEK" })), "POST", 400],
] as const) {
  test(`a request ${what} is refused with ${status}, and no handler is asked`, async (t) => {
    const { send } = await setUp(t, { "/a": () => assert.fail("it was asked") });
    assert.equal((await send(path, body, method)).status, status);
  });
}

test("a review that is longer than any object is cut off, and others are answered", async (t) => {
  const { send, ask } = await setUp(t, { "/a": () => ({ allowed: true }) });
  // A client that is still sending may not see the answer.
  const outcome = await send("/a", " ".repeat(9 * 1024 * 1024)).then(
    ({ status }) => status,
    () => 413,
  );
  assert.equal(outcome, 413);
  assert.equal((await ask("/a", review())).status, 200);
});

test("a handler that fails is a failure of the webhook, not a verdict", async (t) => {
  const { ask } = await setUp(t, {
    "/a": () => {
      throw new Error("broken");
    },
  });
  assert.equal((await ask("/a", review())).status, 500);
});

test("a new certificate is used by the next connection", async (t) => {
  const { port, serving } = await setUp(t, {});
  const serial = async (): Promise<string> => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  };
  const before = await serial();
  const authority = openAuthority({
    stateFolder: tempFolder(t),
    trustDomain: DEFAULT_TRUST_DOMAIN,
    clock: systemClock,
    logger: silentLogger,
  });
  t.after(() => authority.close());
  const other = await startServing({ authority, clock: systemClock, logger: silentLogger });
  t.after(() => other.close());
  assert.ok(other.material.current);
  serving.material.update(other.material.current);
  assert.notEqual(await serial(), before);
});

test("whoever connects and says nothing is cut off within seconds", async (t) => {
  const { port } = await setUp(t, {});
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
  t.after(() => socket.destroy());
  await once(socket, "secureConnect");
  socket.write("POST /a HTTP/1.1\r\nhost: a\r\n");
  socket.on("error", () => undefined).resume();
  const began = performance.now();
  await once(socket, "close");
  // The headers' 3 s, and not the 30 s of Node's own looking.
  assert.ok(performance.now() - began < 15_000);
});

test("connections on which nothing is asked any more keep nobody out", async (t) => {
  const { port, ask } = await setUp(t, { "/a": () => ({ allowed: true }) });
  const idle = await Promise.all(
    Array.from({ length: 200 }, async () => {
      const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
      socket.on("error", () => undefined);
      await once(socket, "secureConnect");
      socket.write("GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n");
      await once(socket, "data");
      return socket;
    }),
  );
  t.after(() => idle.forEach((socket) => void socket.destroy()));
  // The first attempt may be the one that makes room.
  const answer = await ask("/a", review()).catch(() => ask("/a", review()));
  assert.equal(answer.status, 200);
});
