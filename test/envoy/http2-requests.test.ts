/** Requests of HTTP/2 that an application of HTTP/1.1 reads otherwise than they were written: each case in both engines. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2, constants, type OutgoingHttpHeaders } from "node:http2";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { FakeCa } from "../fakes/fake-ca.ts";
import { FLAG, FRAME, frame, headerBlock, PREFACE } from "../fakes/http2-frames.ts";
import { embeddedSide, envoySide, listening, type Side } from "./custom-sides.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { LOOPBACK } from "./loopback.ts";
import { clause, inbound, policyOf, ruleWhen } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const ca = new FakeCa();
/** The bodies that were whole, and those that were not. */
const bodies: string[] = [];
const application = createServer((request, response) => {
  request.on("aborted", () => bodies.push(`${request.url} broken off`)).on("error", () => undefined);
  request.resume().on("end", () => {
    bodies.push(`${request.url} whole`);
    response.end();
  });
});
const sides: Side[] = [];
const serving = new Map<Side["name"], { readonly session: ClientHttp2Session; readonly port: number }>();

const HTTP = {
  audit: [],
  deny: [
    ruleWhen("exact", 0, clause("header", [{ kind: "exact", value: "admin" }], { argument: "X-Role" })),
    ruleWhen("prefix", 0, clause("header", [{ kind: "prefix", value: "adm." }], { argument: "x-first" })),
    ruleWhen("cookie", 0, clause("header", [{ kind: "exact", value: "a=1; b=2" }], { argument: "cookie" })),
    ruleWhen("suffix", 0, clause("header", [{ kind: "suffix", value: ".root" }], { argument: "x-last" })),
  ],
  allow: undefined,
};

before(async () => {
  if (skip) return;
  const endpoint = { kind: "tcp", host: "127.0.0.1", port: await listening(application) } as const;
  for (const start of [envoySide, embeddedSide]) {
    const listener = await inbound({ protocol: "http", mtls: "DISABLE", endpoint });
    const side = await start(policyOf({ inbound: [listener], http: HTTP }), ca);
    sides.push(side);
    const session = connectHttp2(`http://${LOOPBACK}:${listener.port}`).on("error", () => undefined);
    serving.set(side.name, { session, port: listener.port });
  }
});
after(async () => {
  for (const { session } of serving.values()) session.destroy();
  await Promise.all(sides.map((side) => side.stop()));
  application.close();
});

function inBoth(name: string, body: (session: ClientHttp2Session, port: number) => Promise<void>): void {
  for (const engine of ["envoy", "embedded"] as const)
    test(`${name} (${engine})`, { skip }, async () => {
      const { session, port } = serving.get(engine) ?? {};
      assert.ok(session !== undefined && port !== undefined);
      await body(session, port);
    });
}

async function statusOf(session: ClientHttp2Session, headers: OutgoingHttpHeaders): Promise<number> {
  const stream = session.request({ ":path": "/headers", ...headers });
  const [answer] = await once(stream, "response");
  stream.close();
  return Number(answer[":status"]);
}

inBoth("spaces around a header's value hide nothing from a rule on the value", async (session) => {
  for (const [before, behind] of [
    ["", ""],
    [" ", ""],
    ["", " "],
    ["\t", "\t"],
    ["  \t", " \t "],
  ]) {
    assert.equal(await statusOf(session, { "x-role": `${before}admin${behind}` }), 403);
    assert.equal(await statusOf(session, { "x-first": `${before}adm.one${behind}` }), 403);
    assert.equal(await statusOf(session, { "x-last": `${before}the.root${behind}` }), 403);
    const others = {
      "x-role": `${before}user admin${behind}`,
      "x-first": `${before}admxone${behind}`,
      "x-last": `${before}rootx${behind}`,
    };
    assert.equal(await statusOf(session, others), 200);
  }
});

inBoth("cookies that come apart are one for rules and for the application", async (session) => {
  assert.equal(await statusOf(session, { cookie: ["a=1", "b=2"] }), 403);
  const arrived = once(application, "request");
  assert.equal(await statusOf(session, { cookie: ["a=1", "b=3", "c=4"] }), 200);
  const [request] = await arrived;
  assert.deepEqual(request.headersDistinct.cookie, ["a=1; b=3; c=4"]);
});

inBoth("a body that is broken off is not taken for a whole one, whatever the reason", async (_session, port) => {
  for (const code of [constants.NGHTTP2_NO_ERROR, constants.NGHTTP2_CANCEL]) {
    bodies.length = 0;
    const arrived = once(application, "request");
    const socket = connect({ host: LOOPBACK, port });
    const headers = headerBlock({ ":method": "POST", ":path": `/${code}`, ":scheme": "http", ":authority": "a" });
    const half = frame(FRAME.data, 0, 1, Buffer.from("half"));
    socket.write(Buffer.concat([PREFACE, frame(FRAME.headers, FLAG.endHeaders, 1, headers), half]));
    const [request] = await arrived;
    const closed = once(request, "close").catch(() => undefined);
    socket.write(frame(FRAME.reset, 0, 1, Buffer.from([0, 0, 0, code])));
    await closed;
    assert.deepEqual(bodies, [`/${code} broken off`]);
    socket.destroy();
  }
});
