/** Authorizers over HTTP: each case in both engines, with an authorizer and an application that tell what reached them. */
import assert from "node:assert/strict";
import { createServer, type IncomingMessage } from "node:http";
import { after, before, test } from "node:test";
import type { Authorizer, InboundListener, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { type AskedOverHttp, type HttpAuthorizerServer, startHttpAuthorizer } from "../fakes/authorizers.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { echo } from "../fakes/http-application.ts";
import { type Answer, type Call, call, peerAgent } from "../fakes/http-clients.ts";
import { pickPort } from "../fakes/ports.ts";
import { jwtRule } from "../fixture/tokens.ts";
import { embeddedSide, envoySide, listening, overHttp, ruleFor, type Side, upstream } from "./custom-sides.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { LOOPBACK } from "./loopback.ts";
import { clause, FRONTEND, inbound, policyOf, ruleWhen } from "./scenario.ts";

const skip = skipWithoutEnvoy();
const ca = new FakeCa();
const agent = peerAgent(ca.material(FRONTEND));
const application = createServer(echo);
let opa: HttpAuthorizerServer;
const all: Serving[] = [];

const exact = (value: string) => ({ kind: "exact", value }) as const;
const prefix = (value: string) => ({ kind: "prefix", value }) as const;

/** Every field of a provider, each in a provider of its own that is asked of its own paths; as many together as there are places. */
async function groups(): Promise<readonly (readonly Authorizer[])[]> {
  const at = upstream("opa", opa.port, "http");
  const nobody = upstream("nobody", await pickPort(), "http");
  const body = { maxRequestBytes: 10, allowPartialMessage: false, packAsBytes: false };
  return [
    [
      overHttp("plain", at),
      overHttp("second", at),
      overHttp("shown", at, { includeRequestHeadersInCheck: [exact("cookie"), prefix("x-in-")] }),
      overHttp("prefixed", at, { pathPrefix: "/check", includeAdditionalHeadersInCheck: [{ name: "x-added", value: "of the mesh" }] }),
    ],
    [
      overHttp("writes", at, { headersToUpstreamOnAllow: [exact("x-user"), prefix("x-role-"), exact("content-length"), exact("host")] }),
      overHttp("told", at, { headersToDownstreamOnDeny: [exact("x-why")], headersToDownstreamOnAllow: [exact("set-cookie")] }),
      overHttp("body", at, { includeRequestBodyInCheck: body }),
      overHttp("partial", at, { includeRequestBodyInCheck: { ...body, allowPartialMessage: true } }),
    ],
    [
      overHttp("hasty", at, { timeoutMs: 300, statusOnError: 504 }),
      overHttp("lenient", at, { timeoutMs: 300, failOpen: true }),
      overHttp("away", nobody, { statusOnError: 503 }),
      overHttp("optional", nobody, { failOpen: true }),
    ],
  ];
}

function policyFor(listener: InboundListener, all: readonly Authorizer[]): WorkloadPolicy {
  const custom = all.map(({ name }, place) => ruleFor(name, place));
  const both = all.flatMap(({ name }, place) =>
    name === "second" ? [{ ...ruleFor(name, place, "/plain/and/second"), origin: SECOND }] : [],
  );
  const denied = ruleWhen("deny", 0, clause("path", [{ kind: "suffix", value: "/denied" }]));
  const allow = [ruleWhen("allow", 0, clause("path", [prefix("/")]), clause("method", [exact("TRACE")], { negated: true }))];
  // No token in `x-token` is good: the rule has no key.
  const token = jwtRule("https://issuer.example", [], {
    fromHeaders: [{ name: "x-token", prefix: "" }],
    fromParams: [],
    outputPayloadToHeader: "x-in-payload",
  });
  return policyOf({
    inbound: [listener],
    authorizers: all,
    requestAuthentication: [token],
    http: { custom: [...custom, ...both], audit: [], deny: [denied], allow },
  });
}

const SECOND = { namespace: "photo-ns", policy: "second", rule: 1 };

/** Both engines with every group: which one a request goes to, its path says. */
interface Serving {
  readonly side: Side;
  readonly port: number;
  readonly providers: ReadonlySet<string>;
}

function servingOf(engine: Side["name"], path: string): Serving {
  const [, provider = ""] = /^\/([a-z]+)/.exec(path) ?? [];
  const serving =
    all.find(({ side, providers }) => side.name === engine && providers.has(provider)) ?? all.find(({ side }) => side.name === engine);
  assert.ok(serving);
  return serving;
}

before(async () => {
  if (skip) return;
  opa = await startHttpAuthorizer();
  opa.answer = answer;
  const endpoint = { kind: "tcp", host: "127.0.0.1", port: await listening(application) } as const;
  for (const start of [envoySide, embeddedSide]) {
    for (const group of await groups()) {
      const listener = await inbound({ protocol: "http", mtls: "STRICT", endpoint });
      const side = await start(policyFor(listener, group), ca);
      all.push({ side, port: listener.port, providers: new Set(group.map(({ name }) => name)) });
    }
  }
});

after(async () => {
  await Promise.all(all.map(({ side }) => side.stop()));
  agent.destroy();
  application.close();
  opa?.close();
});

/** The authorizer: what it does stands in the query, `?do=…`. */
function answer({ url }: AskedOverHttp, response: import("node:http").ServerResponse, request: IncomingMessage): void {
  const [, what = ""] = /[?&]do=([a-z-]+)/.exec(url) ?? [];
  const answers: Readonly<Record<string, () => void>> = {
    deny: () =>
      response
        .writeHead(401, ["set-cookie", "a=1", "set-cookie", "b=2", "x-why", "no", "content-type", "text/html", "www-authenticate", "Basic"])
        .end("<b>no</b>"),
    login: () => response.writeHead(302, { location: "/login" }).end(),
    created: () => response.writeHead(201).end("created"),
    broken: () => response.writeHead(500).end("broken"),
    hang: () => request.socket.destroy(),
    silence: () => undefined,
    write: () =>
      response
        .writeHead(200, [
          "x-user",
          "alice",
          "x-user",
          "bob",
          "x-role-a",
          "1",
          "x-other",
          "2",
          "host",
          "evil",
          "x-envoy-auth-headers-to-remove",
          "x-secret, x-in-a",
        ])
        .end(),
    cookie: () => response.writeHead(200, ["set-cookie", "a=1", "set-cookie", "b=2", "x-why", "yes"]).end(),
  };
  (answers[what] ?? (() => response.end("allowed")))();
}

type Asked = Omit<Call, "port" | "agent">;

interface Told {
  readonly answer: Answer;
  /** What the application says that reached it; undefined where nothing did. */
  readonly reached:
    | { readonly method: string; readonly url: string; readonly headers: Record<string, string>; readonly body: string }
    | undefined;
  readonly asked: readonly AskedOverHttp[];
}

async function ask(engine: Side["name"], asked: Asked): Promise<Told> {
  const before = opa.asked.length;
  const answer = await call({ host: LOOPBACK, port: servingOf(engine, asked.path ?? "").port, agent, ...asked });
  const text = answer.body.toString();
  return { answer, reached: text.startsWith("{") ? JSON.parse(text) : undefined, asked: opa.asked.slice(before) };
}

/** One case, in both engines. */
function inBoth(name: string, body: (engine: Side["name"]) => Promise<void>): void {
  for (const engine of ["envoy", "embedded"] as const) {
    test(`${name} (${engine})`, { skip }, () => body(engine));
  }
}

/** What an Envoy's own HTTP client adds to a question. */
function ownHeaders({ headers }: AskedOverHttp): Record<string, string> {
  const own = headers.filter(([name, value]) => !name.startsWith("x-envoy-") && !(name === "content-length" && value === "0"));
  return Object.fromEntries(own.filter(([name]) => name !== "connection"));
}

inBoth("a request that no rule asks of goes on unasked", async (engine) => {
  const { answer, asked } = await ask(engine, { path: "/free" });
  assert.deepEqual([answer.status, asked.length], [200, 0]);
});

inBoth("an authorizer is told method, path, host and Authorization, and nothing else of the request", async (engine) => {
  const headers = { host: "photos.example", authorization: "Bearer x", cookie: "a=1", "x-in-a": "1" };
  const { answer, asked } = await ask(engine, { path: "/plain?q=1", method: "DELETE", headers });
  assert.equal(answer.status, 200);
  assert.equal(asked.length, 1);
  const [question] = asked;
  assert.ok(question);
  assert.deepEqual([question.method, question.url], ["DELETE", "/plain?q=1"]);
  assert.deepEqual(ownHeaders(question), { host: "photos.example", authorization: "Bearer x" });
});

inBoth("an authorizer is asked before tokens are looked at, and sees nothing that only a token may write", async (engine) => {
  const forged = { host: "h", "x-token": "garbage", "x-in-payload": "forged", "x-in-a": "1" };
  const denied = await ask(engine, { path: "/shown/a?do=deny", headers: forged });
  assert.deepEqual([denied.answer.status, denied.answer.body.toString(), denied.asked.length], [401, "<b>no</b>", 1]);
  assert.deepEqual(ownHeaders(denied.asked[0] ?? assert.fail()), { host: "h", "x-in-a": "1" });
  const allowed = await ask(engine, { path: "/shown/b", headers: forged });
  assert.deepEqual([allowed.answer.status, allowed.asked.length, allowed.reached], [401, 1, undefined]);
  assert.match(allowed.answer.body.toString(), /^Jwt /);
  const { side } = servingOf(engine, "/shown");
  assert.partialDeepStrictEqual(await side.told("/shown/a"), { effect: "deny", origin: "photo-ns/shown[0]" });
  assert.equal((await side.told("/shown/b")).effect, "refused");
});

inBoth("a path prefix and added headers are the provider's", async (engine) => {
  const [question] = (await ask(engine, { path: "/prefixed/a?b", headers: { host: "h", "x-added": "of the client" } })).asked;
  assert.ok(question);
  assert.equal(question.url, "/check/prefixed/a?b");
  assert.deepEqual(ownHeaders(question), { host: "h", "x-added": "of the mesh" });
});

inBoth("of a shown header that comes several times all values are told", async (engine) => {
  const headers = { host: "h", "x-in-a": ["1", "2"], cookie: "c=1", "x-not": "1", "x-envoy-auth-partial-body": "true" };
  const [question] = (await ask(engine, { path: "/shown", headers })).asked;
  assert.ok(question);
  assert.deepEqual(ownHeaders(question), { host: "h", "x-in-a": "1,2", cookie: "c=1" });
  assert.ok(!question.headers.some(([name]) => name === "x-envoy-auth-partial-body"));
});

inBoth("a denial is the authorizer's own answer", async (engine) => {
  const { answer, reached } = await ask(engine, { path: "/plain/no?do=deny" });
  assert.equal(reached, undefined);
  assert.deepEqual([answer.status, answer.body.toString()], [401, "<b>no</b>"]);
  const { "set-cookie": cookies, "x-why": why, "content-type": type, "www-authenticate": challenge } = answer.headers;
  assert.deepEqual([cookies, why, type, challenge], [["a=1", "b=2"], "no", "text/html", "Basic"]);
  const told = await servingOf(engine, "/plain/no").side.told("/plain/no");
  assert.partialDeepStrictEqual(told, { effect: "deny", detail: "provider plain denies" });
  assert.match(told.origin, /^photo-ns\/plain\[\d+\]$/);
});

inBoth("whatever is not 200 denies: a redirect, and even another success", async (engine) => {
  const login = await ask(engine, { path: "/plain?do=login" });
  assert.deepEqual([login.answer.status, login.answer.headers.location], [302, "/login"]);
  const created = await ask(engine, { path: "/plain?do=created" });
  assert.deepEqual([created.answer.status, created.answer.body.toString(), created.reached], [201, "created", undefined]);
});

inBoth("a denial tells a gRPC client what it understands", async (engine) => {
  const { answer } = await ask(engine, { method: "POST", path: "/plain?do=deny", headers: { "content-type": "application/grpc" } });
  assert.deepEqual([answer.status, answer.headers["content-type"], answer.headers["grpc-status"]], [200, "application/grpc", "16"]);
});

inBoth("a denial to HEAD has no body", async (engine) => {
  const { answer } = await ask(engine, { method: "HEAD", path: "/plain?do=deny" });
  assert.deepEqual([answer.status, answer.body.length, answer.headers["x-why"]], [401, 0, "no"]);
});

inBoth("of a denial only listed headers reach the client, with the challenge and the location", async (engine) => {
  const { answer } = await ask(engine, { path: "/told?do=deny" });
  const { "set-cookie": cookies, "x-why": why, "www-authenticate": challenge } = answer.headers;
  assert.deepEqual([answer.status, cookies, why, challenge], [401, undefined, "no", "Basic"]);
});

inBoth("listed headers of an answer that allows are added to the response", async (engine) => {
  const { answer } = await ask(engine, { path: "/told?do=cookie" });
  assert.deepEqual([answer.status, answer.headers["set-cookie"], answer.headers["x-why"]], [200, ["a=1", "b=2"], undefined]);
});

inBoth("an authorizer writes listed headers, its last value each, and takes out what it names", async (engine) => {
  const headers = { host: "h", "x-user": "admin", "x-role-b": "forged", "x-secret": "1", "x-in-a": "1", "x-kept": "1" };
  const { reached } = await ask(engine, { path: "/writes?do=write", headers });
  assert.ok(reached);
  const {
    host,
    "x-user": user,
    "x-role-a": written,
    "x-role-b": forged,
    "x-other": other,
    "x-secret": secret,
    "x-kept": kept,
  } = reached.headers;
  assert.deepEqual([host, user, written, forged, other, secret, kept], ["h", "bob", "1", undefined, undefined, undefined, "1"]);
});

inBoth("what only an authorizer may write is taken from clients also where it is silent, and on other paths", async (engine) => {
  for (const path of ["/writes", "/told"]) {
    const { reached } = await ask(engine, { path, headers: { "X-User": "admin", "x-role-b": "forged" } });
    assert.ok(reached);
    assert.deepEqual([reached.headers["x-user"], reached.headers["x-role-b"]], [undefined, undefined]);
  }
});

inBoth("a body up to the limit is shown and goes on whole; one byte more is refused", async (engine) => {
  const fits = await ask(engine, { method: "POST", path: "/body", body: "0123456789" });
  assert.deepEqual([fits.answer.status, fits.reached?.body, fits.asked[0]?.body], [200, "0123456789", "0123456789"]);
  const chunked = await ask(engine, { method: "POST", path: "/body", body: "01234", headers: { "transfer-encoding": "chunked" } });
  assert.deepEqual([chunked.answer.status, chunked.reached?.body, chunked.asked[0]?.body], [200, "01234", "01234"]);
  for (const headers of [{}, { "transfer-encoding": "chunked" }]) {
    const { answer, asked } = await ask(engine, { method: "POST", path: "/body/large", body: "0123456789A", headers });
    assert.deepEqual([answer.status, answer.body.toString(), asked.length], [413, "Payload Too Large", 0]);
  }
  assert.partialDeepStrictEqual(await servingOf(engine, "/body/large").side.told("/body/large"), {
    effect: "refused",
    detail: "request_payload_too_large",
  });
});

inBoth("where a part will do, it is shown and said to be one, and all of it goes on", async (engine) => {
  const text = "0123456789".repeat(5_000);
  const { answer, reached, asked } = await ask(engine, { method: "POST", path: "/partial", body: text });
  assert.deepEqual([answer.status, reached?.body.length, asked[0]?.body], [200, text.length, "0123456789"]);
  const partial = (asked[0]?.headers ?? []).find(([name]) => name === "x-envoy-auth-partial-body");
  assert.deepEqual(partial, ["x-envoy-auth-partial-body", "true"]);
  const denied = await ask(engine, { method: "POST", path: "/partial?do=deny", body: text });
  assert.equal(denied.answer.status, 401);
});

inBoth("an authorizer that is silent, broken or away refuses with its status, and nothing reaches the application", async (engine) => {
  for (const [path, status] of [
    ["/hasty/a?do=silence", 504],
    ["/hasty/b?do=broken", 504],
    ["/hasty/c?do=hang", 504],
    ["/away", 503],
  ] as const) {
    const { answer, reached } = await ask(engine, { path });
    assert.deepEqual([path, answer.status, answer.body.length, reached], [path, status, 0, undefined]);
  }
  const told = await servingOf(engine, "/away").side.told("/away");
  assert.equal(told.effect, "deny");
  assert.match(told.detail, /^provider away could not be asked/);
});

inBoth("one that may be passed over is, where it is silent or away, and not where it denies", async (engine) => {
  for (const path of ["/lenient?do=silence", "/lenient?do=broken", "/optional"])
    assert.equal((await ask(engine, { path })).answer.status, 200, path);
  assert.equal((await ask(engine, { path: "/lenient?do=deny" })).answer.status, 401);
});

inBoth("CUSTOM is asked before DENY and ALLOW, which hold for what it allows", async (engine) => {
  const refused = await ask(engine, { path: "/plain/denied?do=deny" });
  assert.deepEqual([refused.answer.status, refused.asked.length], [401, 1]);
  const denied = await ask(engine, { path: "/plain/denied" });
  assert.deepEqual([denied.answer.status, denied.answer.body.toString(), denied.asked.length], [403, "RBAC: access denied", 1]);
  assert.partialDeepStrictEqual(await servingOf(engine, "/plain/denied").side.told("/plain/denied", 2), {
    effect: "deny",
    origin: "photo-ns/deny[0]",
  });
});

inBoth("of several providers all must allow, and each is asked once", async (engine) => {
  const both = await ask(engine, { path: "/plain/and/second" });
  assert.deepEqual([both.answer.status, both.asked.length], [200, 2]);
  const none = await ask(engine, { path: "/plain/and/second?do=deny" });
  assert.deepEqual([none.answer.status, none.asked.length], [401, 1]);
});
