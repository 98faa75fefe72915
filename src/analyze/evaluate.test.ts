import assert from "node:assert/strict";
import { test } from "node:test";
import type { AuthorizationLayers, InboundListener, WorkloadPolicy } from "../compile/workload-policy.ts";
import type { Decision, Facts } from "../policy/decision.ts";
import { type Engine, evaluate, meets, type Outcome } from "./evaluate.ts";
import type { TestRequest } from "./test-request.ts";

const CART = "spiffe://cluster.local/ns/shop/sa/cart";
const NOTHING: AuthorizationLayers = { audit: [], deny: [], allow: undefined };

function listener(port: number, more: Partial<InboundListener> = {}): InboundListener {
  const endpoint = { kind: "tcp", host: "127.0.0.1", port: 1 } as const;
  return { name: `inbound_${port}`, bind: "10.0.0.7", port, protocol: "http", mtls: "PERMISSIVE", endpoint, services: [], ...more };
}

function policyOf(...inbound: readonly InboundListener[]): WorkloadPolicy {
  const identity = "spiffe://cluster.local/ns/shop/sa/web";
  return {
    workload: "shop/web",
    address: "10.0.0.7",
    identity,
    trustDomains: ["cluster.local"],
    inbound,
    outbound: [],
    http: NOTHING,
    tcp: NOTHING,
  };
}

function requestWith(fields: Partial<TestRequest> = {}): TestRequest {
  const base = { from: CART, port: undefined, protocol: undefined, method: "GET", path: "/", host: undefined, headers: new Map() };
  return { ...base, sni: undefined, sourceIp: undefined, remoteIp: undefined, tokens: [], ...fields };
}

const ORIGIN = { namespace: "shop", policy: "watch", rule: 3 };
/** What the rules for tokens say, whatever they are asked. */
const REQUIRED = { kind: "refused", status: 401, text: "Jwt is missing", findings: [], now: 0 } as const;
const ALLOWED: Decision = { effect: "allow", because: { kind: "no-policy" }, audit: [ORIGIN] };
const DENIED: Decision = { effect: "deny", because: { kind: "rule", action: "DENY", origin: ORIGIN }, audit: [] };

/** Says yes to HTTP and no to TCP, and keeps what it was asked. */
function engine(): Engine & { readonly asked: Facts[] } {
  const asked: Facts[] = [];
  const answer = (decision: Decision) => (facts: Facts) => {
    asked.push(facts);
    return decision;
  };
  const normalizePath = (path: string) => (path === "/bad" ? undefined : { path: `${path}/normal`, query: "" });
  const asksNobody = () => [];
  const asks = { asksHttp: asksNobody, asksTcp: asksNobody };
  return { asked, http: answer(ALLOWED), tcp: answer(DENIED), ...asks, normalizePath, tokenOf: String, authenticate: () => REQUIRED };
}

function refusal(policy: WorkloadPolicy, fields: Partial<TestRequest>): string {
  const asking = engine();
  const { effect, by, audit, why } = evaluate(asking, policy, requestWith(fields));
  assert.deepEqual({ effect, by, audit, asked: asking.asked }, { effect: "refused", by: "", audit: [], asked: [] });
  return why;
}

test("a request is decided on what the proxy would know of it", () => {
  const asking = engine();
  const headers = new Map([["x-a", ["1", "2"]]]);
  const request = requestWith({ method: "PUT", path: "/a", host: "A.example", headers, sni: "b.example", sourceIp: "10.9.9.9" });
  const outcome = evaluate(asking, policyOf(listener(8080)), request);
  assert.deepEqual(outcome, { effect: "allow", by: "no-policy", audit: ["shop/watch[3]"], why: "" });
  assert.deepEqual(asking.asked, [
    {
      peer: CART,
      sourceIp: "10.9.9.9",
      remoteIp: "10.9.9.9",
      destinationIp: "10.0.0.7",
      destinationPort: 8080,
      sni: "b.example",
      http: { method: "PUT", path: "/a/normal", host: "A.example", headers: new Map([...headers, ["host", ["A.example"]]]) },
    },
  ]);
});

test("a TCP connection is decided on without a request", () => {
  const asking = engine();
  const outcome = evaluate(asking, policyOf(listener(9090, { protocol: "tcp" })), requestWith({ path: "/bad" }));
  assert.deepEqual(outcome, { effect: "deny", by: "shop/watch[3]", audit: [], why: "" });
  assert.equal(asking.asked[0]?.http, undefined);
});

test("a request that names no host asks for the service, from the workload's own machine", () => {
  const asking = engine();
  evaluate(asking, policyOf(listener(8080)), requestWith({ from: undefined }));
  const [facts] = asking.asked;
  assert.deepEqual([facts?.peer, facts?.http?.host, facts?.sourceIp, facts?.sni], [undefined, "web", "127.0.0.1", ""]);
});

test("a request comes to the port that it names", () => {
  const asking = engine();
  evaluate(asking, policyOf(listener(8080), listener(8081)), requestWith({ port: 8081 }));
  assert.equal(asking.asked[0]?.destinationPort, 8081);
});

for (const [what, policy, fields, why] of [
  ["a workload that listens on no port", policyOf(), {}, "the workload listens on no port"],
  [
    "another port",
    policyOf(listener(8080)),
    { port: 81 },
    "the workload does not listen on port 81, but on 8080: ports are the workload's own",
  ],
  [
    "a client whose address is of the other family",
    policyOf(listener(8080)),
    { sourceIp: "2001:db8::1" },
    "a client with the address 2001:db8::1 does not reach 10.0.0.7, which is of IPv4",
  ],
  ["plaintext to STRICT", policyOf(listener(8080, { mtls: "STRICT" })), { from: undefined }, "plaintext, where the mode is STRICT"],
  ["mutual TLS to DISABLE", policyOf(listener(8080, { mtls: "DISABLE" })), {}, "mutual TLS, where the mode is DISABLE"],
  [
    "a foreign trust domain",
    policyOf(listener(8080)),
    { from: "spiffe://elsewhere/ns/shop/sa/cart" },
    "the trust domain `elsewhere` is not one of the mesh",
  ],
  ["a path that is refused", policyOf(listener(8080)), { path: "/bad" }, "the path is not one that a proxy takes"],
  ["a host that is refused", policyOf(listener(8080)), { host: "a/b" }, "the host is not one that a proxy takes"],
] as const) {
  test(`${what} is refused, and nothing is decided`, () => {
    assert.equal(refusal(policy, fields), why);
  });
}

test("a request that could be for several ports is a question without an answer", () => {
  assert.throws(() => evaluate(engine(), policyOf(listener(1), listener(2)), requestWith()), {
    code: "invalid-argument",
    message: "workload `shop/web` listens on several ports",
    help: "say which with `port`: 1, 2",
  });
});

test("a request in another protocol than the port's is a question without an answer", () => {
  assert.throws(() => evaluate(engine(), policyOf(listener(8080)), requestWith({ protocol: "tcp" })), {
    code: "invalid-argument",
    message: "port 8080 of `shop/web` speaks http, not tcp",
  });
  const tcp = policyOf(listener(9090, { protocol: "tcp" }));
  assert.throws(() => evaluate(engine(), tcp, requestWith({ protocol: "http" })), {
    message: "port 9090 of `shop/web` speaks tcp, not http",
  });
});

test("an outcome meets the effect, the origin and the audit that are expected, as far as they are", () => {
  const outcome: Outcome = { effect: "deny", by: "shop/p[0]", audit: ["shop/w[0]", "shop/w[1]"], why: "" };
  const met = (expected: Partial<Parameters<typeof meets>[1]>): boolean =>
    meets(outcome, { expect: "deny", by: undefined, audit: undefined, ...expected });
  assert.equal(met({}), true);
  assert.equal(met({ expect: 403 }), true);
  assert.equal(met({ by: "shop/p[0]", audit: ["shop/w[0]", "shop/w[1]"] }), true);
  assert.equal(met({ expect: "allow" }), false);
  assert.equal(met({ expect: 200 }), false);
  assert.equal(met({ expect: "refused" }), false);
  assert.equal(met({ by: "default" }), false);
  assert.equal(met({ audit: ["shop/w[0]"] }), false);
  assert.equal(met({ audit: [] }), false);
});

test("a refused connection is neither status", () => {
  const outcome: Outcome = { effect: "refused", by: "", audit: [], why: "plaintext" };
  const expected = { by: undefined, audit: undefined };
  assert.equal(meets(outcome, { expect: "refused", ...expected }), true);
  for (const expect of [200, 403, "allow", "deny"] as const) assert.equal(meets(outcome, { expect, ...expected }), false);
});

test("a client other than the connection's is asked for only where proxies are trusted to tell it", () => {
  const remoteIp = "203.0.113.9";
  const trusting = { ...policyOf(listener(8080)), numTrustedProxies: 2 };
  const asking = engine();
  evaluate(asking, trusting, requestWith({ remoteIp, sourceIp: "10.9.9.9" }));
  assert.deepEqual(
    [asking.asked[0]?.remoteIp, asking.asked[0]?.http?.headers.get("x-forwarded-for")],
    [remoteIp, ["203.0.113.9, 10.9.9.9"]],
  );
  assert.throws(() => evaluate(engine(), policyOf(listener(8080)), requestWith({ remoteIp })), { code: "invalid-argument" });
});
