/** Authorizers over gRPC, for requests and for connections of TCP: each case in both engines. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { createServer as createTcpServer } from "node:net";
import { after, before, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { status } from "@grpc/grpc-js";
import type { Authorizer, CustomRule, InboundListener, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { HeaderValueOption_HeaderAppendAction as AppendAction } from "../../src/gen/envoy/config/core/v3/base_pb.js";
import type { CheckRequest } from "../../src/gen/envoy/service/auth/v3/external_auth_pb.js";
import { type GrpcAnswer, type GrpcAuthorizerServer, OK, startGrpcAuthorizer } from "../fakes/authorizers.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { echo } from "../fakes/http-application.ts";
import { type Answer, type Call, call, call2, peerAgent } from "../fakes/http-clients.ts";
import { exchange } from "./client.ts";
import { embeddedSide, envoySide, listening, overGrpc, ruleFor, type Side, upstream } from "./custom-sides.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { LOOPBACK } from "./loopback.ts";
import { BACKEND, FRONTEND, inbound, policyOf } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const ca = new FakeCa();
const agent = peerAgent(ca.material(FRONTEND));
const OPA = "spiffe://cluster.local/ns/auth/sa/opa";
const application = createServer(echo);
const tcpApplication = createTcpServer((socket) => socket.on("data", (data) => socket.end(`got ${data}`)));
let opa: GrpcAuthorizerServer;
/** By mutual TLS, as `OPA`. */
let meshed: GrpcAuthorizerServer;

interface Serving {
  readonly side: Side;
  readonly http: number;
  readonly tcp: number;
}

const all: Serving[] = [];

function servingOf(engine: Side["name"]): Serving {
  const serving = all.find(({ side }) => side.name === engine);
  assert.ok(serving);
  return serving;
}

function authorizers(): readonly Authorizer[] {
  const at = upstream("opa", opa.port, "http2");
  const body = { maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true };
  return [
    overGrpc("plain", at, { includeRequestBodyInCheck: { ...body, packAsBytes: false }, statusOnError: 503, timeoutMs: 500 }),
    overGrpc("bytes", at, { includeRequestBodyInCheck: body, failOpen: true, timeoutMs: 500 }),
    overGrpc("meshed", upstream("meshed", meshed.port, "http2", OPA)),
    overGrpc("impostor", upstream("impostor", meshed.port, "http2", BACKEND), { timeoutMs: 2_000 }),
  ];
}

const EVERYTHING: CustomRule = { ...ruleFor("plain", 0), condition: { kind: "always" } };

function policyFor(inbound: readonly InboundListener[]): WorkloadPolicy {
  const asked = authorizers();
  const custom = asked.map(({ name }, place) => ruleFor(name, place));
  return policyOf({
    inbound,
    authorizers: asked,
    http: { custom, audit: [], deny: [], allow: undefined },
    tcp: { custom: [EVERYTHING], audit: [], deny: [], allow: undefined },
  });
}

before(async () => {
  if (skip) return;
  opa = await startGrpcAuthorizer();
  meshed = await startGrpcAuthorizer(ca.material(OPA));
  const http = { kind: "tcp", host: "127.0.0.1", port: await listening(application) } as const;
  const tcp = { kind: "tcp", host: "127.0.0.1", port: await listening(tcpApplication) } as const;
  for (const start of [envoySide, embeddedSide]) {
    const ofHttp = await inbound({ protocol: "http", mtls: "STRICT", endpoint: http });
    const ofTcp = await inbound({ protocol: "tcp", mtls: "STRICT", endpoint: tcp });
    const side = await start(policyFor([ofHttp, ofTcp]), ca);
    all.push({ side, http: ofHttp.port, tcp: ofTcp.port });
  }
});

after(async () => {
  await Promise.all(all.map(({ side }) => side.stop()));
  agent.destroy();
  application.close();
  tcpApplication.close();
  opa?.close();
  meshed?.close();
});

interface Told {
  readonly answer: Answer;
  readonly reached: { readonly url: string; readonly headers: Record<string, string>; readonly body: string } | undefined;
  readonly asked: readonly CheckRequest[];
}

async function ask(engine: Side["name"], answer: GrpcAnswer, asked: Omit<Call, "port" | "agent">): Promise<Told> {
  opa.answer = () => answer;
  const before = opa.asked.length;
  const answered = await call({ host: LOOPBACK, port: servingOf(engine).http, agent, ...asked });
  const text = answered.body.toString();
  return { answer: answered, reached: text.startsWith("{") ? JSON.parse(text) : undefined, asked: opa.asked.slice(before) };
}

/** Says hello over TCP and reads what comes back. */
async function hello(
  engine: Side["name"],
  answer: GrpcAnswer,
): Promise<{ readonly text: string; readonly asked: readonly CheckRequest[] }> {
  opa.answer = () => answer;
  const before = opa.asked.length;
  const tls = { material: ca.material(FRONTEND), alpn: ["istio"], sni: "tcp.example" };
  const text = await exchange({ port: servingOf(engine).tcp, tls }, "hello");
  return { text, asked: opa.asked.slice(before) };
}

function inBoth(name: string, body: (engine: Side["name"]) => Promise<void>): void {
  for (const engine of ["envoy", "embedded"] as const) test(`${name} (${engine})`, { skip }, () => body(engine));
}

const header = (key: string, value: string) => ({ header: { key, value } });

inBoth("an authorizer is told who asks whom, with the certificate, and the whole request", async (engine) => {
  const headers = { host: "photos.example", "x-in": ["1", "2"], cookie: "a=1" };
  const { answer, asked } = await ask(engine, OK, { path: "/plain/a?q=1", method: "DELETE", headers });
  assert.equal(answer.status, 200);
  assert.equal(asked.length, 1);
  const { source, destination, request, tlsSession } = asked[0]?.attributes ?? {};
  assert.deepEqual([source?.principal, destination?.principal], [FRONTEND, BACKEND]);
  assert.match(decodeURIComponent(source?.certificate ?? ""), /^-----BEGIN CERTIFICATE-----\n[\s\S]+-----END CERTIFICATE-----\n$/);
  assert.equal(decodeURIComponent(source?.certificate ?? "").includes(" BEGIN"), false);
  const at = destination?.address?.address;
  assert.ok(at?.case === "socketAddress" && at.value.portSpecifier.case === "portValue");
  assert.deepEqual([at.value.address, at.value.portSpecifier.value], [LOOPBACK, servingOf(engine).http]);
  assert.equal(source?.address?.address.case, "socketAddress");
  assert.equal(tlsSession?.sni, "photos.example");
  const { http } = request ?? {};
  assert.ok(http);
  const { method, path, host, scheme, protocol, query, fragment, body, size } = http;
  assert.deepEqual(
    { method, path, host, scheme, protocol, query, fragment, body, size },
    {
      method: "DELETE",
      path: "/plain/a?q=1",
      host: "photos.example",
      scheme: "https",
      protocol: "HTTP/1.1",
      query: "",
      fragment: "",
      body: "",
      size: 0n,
    },
  );
  assert.notEqual(http.id, "");
  const own = Object.entries(http.headers).filter(([name]) => !/^x-(?:envoy|request-id|forwarded-client-cert)/.test(name));
  assert.deepEqual(Object.fromEntries(own), {
    ":authority": "photos.example",
    ":method": "DELETE",
    ":path": "/plain/a?q=1",
    ":scheme": "https",
    cookie: "a=1",
    "x-in": "1,2",
    "x-forwarded-proto": "https",
  });
  assert.match(http.headers["x-forwarded-client-cert"] ?? "", new RegExp(`URI=${FRONTEND}$`));
});

inBoth("a body is shown as text or as bytes, as much as may be, and goes on whole", async (engine) => {
  const bytes = Buffer.from([0x30, 0xff, 0x31]);
  const text = await ask(engine, OK, { method: "POST", path: "/plain", body: bytes });
  const shown = text.asked[0]?.attributes?.request?.http;
  assert.deepEqual([shown?.body, shown?.rawBody.length, shown?.size], ["0!1", 0, 3n]);
  assert.deepEqual([shown?.headers["x-envoy-auth-partial-body"], shown?.headers["content-length"]], ["false", "3"]);
  assert.equal(text.reached?.body, bytes.toString("latin1"));
  const long = await ask(engine, OK, { method: "POST", path: "/bytes", body: Buffer.alloc(30_000, 0xff) });
  const packed = long.asked[0]?.attributes?.request?.http;
  assert.deepEqual([packed?.body, Buffer.from(packed?.rawBody ?? []).toString("hex")], ["", "ff".repeat(10)]);
  assert.equal(packed?.headers["x-envoy-auth-partial-body"], "true");
  assert.equal(long.reached?.body.length, 30_000);
});

inBoth("a denial has the authorizer's status, headers and body; without them it is 403", async (engine) => {
  const deniedResponse = { status: { code: 429 }, headers: [header("x-why", "slow down"), header("Set-Cookie", "a=1")], body: "later" };
  const denial: GrpcAnswer = { status: { code: 8 }, httpResponse: { case: "deniedResponse", value: deniedResponse } };
  const { answer, reached } = await ask(engine, denial, { path: "/plain/no" });
  assert.equal(reached, undefined);
  assert.deepEqual(
    [answer.status, answer.body.toString(), answer.headers["x-why"], answer.headers["set-cookie"]],
    [429, "later", "slow down", ["a=1"]],
  );
  const told = await servingOf(engine).side.told("/plain/no");
  assert.deepEqual(told, { effect: "deny", origin: "photo-ns/plain[0]", detail: "provider plain denies" });
  const bare = await ask(engine, { status: { code: 7 } }, { path: "/plain" });
  assert.deepEqual([bare.answer.status, bare.answer.body.length], [403, 0]);
});

inBoth("an answer that allows sets, appends and removes headers, and sets and removes parameters", async (engine) => {
  const okResponse = {
    headers: [
      header("x-user", "alice"),
      { ...header("x-list", "b"), append: true },
      { ...header("x-absent", "c"), append: true },
      header("host", "evil"),
      header(":path", "/evil"),
      header("x-envoy-evil", "1"),
      header("x-forwarded-client-cert", "evil"),
    ],
    headersToRemove: ["x-secret", "host", ":method", "x-forwarded-client-cert"],
    queryParametersToSet: [{ key: "a", value: "2" }],
    queryParametersToRemove: ["token"],
    responseHeadersToAdd: [
      header("x-told", "1"),
      { ...header("content-type", "text/x"), appendAction: AppendAction.OVERWRITE_IF_EXISTS_OR_ADD },
    ],
  };
  const allowed: GrpcAnswer = { status: { code: 0 }, httpResponse: { case: "okResponse", value: okResponse } };
  const headers = { host: "h", "x-user": "admin", "x-list": "a", "x-secret": "1" };
  const { answer, reached } = await ask(engine, allowed, { path: "/plain?a=1&token=t", headers });
  assert.deepEqual([answer.status, answer.headers["x-told"], answer.headers["content-type"]], [200, "1", "text/x"]);
  assert.ok(reached);
  const { host, "x-user": user, "x-list": list, "x-absent": absent, "x-secret": secret, "x-envoy-evil": evil } = reached.headers;
  assert.deepEqual(
    [reached.url, host, user, list, absent, secret, evil],
    ["/plain?a=2", "h", "alice", "a,b", undefined, undefined, undefined],
  );
  assert.match(reached.headers["x-forwarded-client-cert"] ?? "", new RegExp(`URI=${FRONTEND}$`));
});

inBoth("an answer that would write what is no header is not followed", async (engine) => {
  const okResponse = { headers: [header("x-user", "a\r\nx-role: admin")] };
  const { answer, reached } = await ask(
    engine,
    { status: { code: 0 }, httpResponse: { case: "okResponse", value: okResponse } },
    { path: "/plain" },
  );
  assert.deepEqual([answer.status, reached], [500, undefined]);
});

inBoth("an answer frames no response and ends no connection of HTTP/2, whatever it says", async (engine) => {
  const { key, chain, roots } = ca.material(FRONTEND);
  const names = { servername: "a.example", ALPNProtocols: ["istio-h2", "istio", "h2"], checkServerIdentity: () => undefined };
  const tls = { host: LOOPBACK, port: servingOf(engine).http, key, cert: chain, ca: roots, ...names };
  const session = connectHttp2(`https://${LOOPBACK}`, { createConnection: () => connectTls(tls) }).on("error", () => undefined);
  const framing = ["connection", "proxy-connection", "transfer-encoding", "upgrade", "x-told"].map((name) => header(name, "x"));
  const twice = ["date", "location"].flatMap((name) => [header(name, "a"), header(name, "b")]);
  const okResponse = { responseHeadersToAdd: [...framing, ...twice] };
  const deniedResponse = { status: { code: 418 }, headers: [...framing, ...twice, header("content-length", "1")], body: "no" };
  for (const [response, expected] of [
    [{ case: "okResponse", value: okResponse } as const, 200],
    [{ case: "deniedResponse", value: deniedResponse } as const, 418],
  ] as const) {
    opa.answer = () => ({ status: { code: expected === 200 ? 0 : 7 }, httpResponse: response });
    const { status: answered, headers, body } = await call2(session, { ":path": "/plain/h2" });
    assert.deepEqual([answered, headers["x-told"], body.length === 2], [expected, "x", expected === 418]);
  }
  session.destroy();
});

test("a denial with a status that no response can have is one with 500 (embedded)", { skip }, async () => {
  for (const code of [101, 700, 1_000_000]) {
    const deniedResponse = { status: { code }, headers: [], body: "no" };
    const denial: GrpcAnswer = { status: { code: 7 }, httpResponse: { case: "deniedResponse", value: deniedResponse } };
    const { answer, reached } = await ask("embedded", denial, { path: "/plain/odd" });
    assert.deepEqual([answer.status, reached], [500, undefined]);
  }
});

inBoth("an authorizer that fails or is silent refuses with its status, or is passed over where it may be", async (engine) => {
  for (const answer of [{ error: status.UNAVAILABLE }, { error: status.PERMISSION_DENIED }, "silence"] as const) {
    const { answer: refused, reached } = await ask(engine, answer, { path: "/plain/down" });
    assert.deepEqual([refused.status, reached], [503, undefined]);
    assert.equal((await ask(engine, answer, { path: "/bytes" })).answer.status, 200);
  }
  const told = await servingOf(engine).side.told("/plain/down");
  assert.partialDeepStrictEqual(told, { effect: "deny", origin: "photo-ns/plain[0]" });
  assert.match(told.detail, /^provider plain could not be asked/);
});

inBoth("an authorizer in the mesh is asked by mutual TLS, and one that is somebody else is not asked at all", async (engine) => {
  const before = meshed.asked.length;
  assert.equal((await ask(engine, OK, { path: "/meshed" })).answer.status, 200);
  assert.equal(meshed.asked.length, before + 1);
  assert.equal((await ask(engine, OK, { path: "/impostor" })).answer.status, 403);
  assert.equal(meshed.asked.length, before + 1);
});

inBoth("a TCP connection is asked of, and goes on or ends by the answer", async (engine) => {
  const allowed = await hello(engine, OK);
  assert.equal(allowed.text, "got hello");
  const { source, destination, request, tlsSession } = allowed.asked[0]?.attributes ?? {};
  assert.deepEqual([source?.principal, destination?.principal, request?.http], [FRONTEND, BACKEND, undefined]);
  assert.equal(tlsSession?.sni, "tcp.example");
  for (const answer of [{ status: { code: 7 } }, { error: status.UNAVAILABLE }, "silence"] as const)
    assert.equal((await hello(engine, answer)).text.replace(/ERROR .*/, ""), "");
  const told = await servingOf(engine).side.told("", 1, "deny");
  assert.partialDeepStrictEqual(told, { effect: "deny", origin: "photo-ns/plain[0]" });
  assert.match(told.detail, /^provider plain denies/);
  assert.equal((await servingOf(engine).side.told("", 3, "deny")).origin, "photo-ns/plain[0]");
});
