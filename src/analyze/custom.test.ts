import assert from "node:assert/strict";
import test from "node:test";
import type { AuthorizationLayers, WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { AuthorizerAnswer } from "../policy/decision.ts";
import { answer } from "./answer.ts";
import { type Arriving, type Engine, evaluate } from "./evaluate.ts";
import type { TestRequest } from "./test-request.ts";
import { describeRule } from "./words.ts";

const ORIGIN = { namespace: "shop", policy: "ask", rule: 2 };
const RULE = { provider: "opa", place: 0, origin: ORIGIN, condition: { kind: "always" } } as const;
const LAYERS: AuthorizationLayers = { custom: [RULE], audit: [], deny: [], allow: undefined };

const POLICY: WorkloadPolicy = {
  workload: "shop/web",
  address: "10.0.0.7",
  identity: "spiffe://cluster.local/ns/shop/sa/web",
  trustDomains: ["cluster.local"],
  inbound: [
    {
      name: "inbound_80",
      bind: "10.0.0.7",
      port: 80,
      protocol: "http",
      mtls: "PERMISSIVE",
      endpoint: { kind: "tcp", host: "127.0.0.1", port: 1 },
      services: [],
    },
  ],
  outbound: [],
  http: LAYERS,
  tcp: LAYERS,
};

function request(answers?: Readonly<Record<string, AuthorizerAnswer>>): TestRequest {
  const authorizers = answers === undefined ? {} : { authorizers: new Map(Object.entries(answers)) };
  const nothing = {
    from: undefined,
    port: undefined,
    protocol: undefined,
    host: undefined,
    sni: undefined,
    sourceIp: undefined,
    remoteIp: undefined,
  };
  return { ...nothing, method: "GET", path: "/", headers: new Map(), tokens: [], ...authorizers };
}

/** There are no rules for tokens. */
const ARRIVING: Arriving = { normalizePath: (path) => ({ path, query: "" }), tokenOf: String, authenticate: () => assert.fail() };

function explained(answers?: Readonly<Record<string, AuthorizerAnswer>>, http: AuthorizationLayers = LAYERS) {
  const engine = { ...ARRIVING, ask: () => ({ holds: true, seen: [] }) };
  return answer(engine, { policy: { ...POLICY, http }, ports: [], authorization: [], requestAuthentication: [] }, request(answers));
}

/** Asks `opa` of everything, and says what it was told. */
const engine: Engine = {
  http: ({ authorizers }) => ({
    effect: authorizers?.get("opa") === "allow" ? "allow" : "deny",
    because: { kind: "rule", action: "CUSTOM", origin: ORIGIN },
    audit: [],
  }),
  tcp: () => assert.fail(),
  asksHttp: () => [{ provider: "opa", origin: ORIGIN }],
  asksTcp: () => [],
  ...ARRIVING,
};

test("what an authorizer would say is unknown, and so is what comes of it; either way is told", () => {
  const { effect, by, why, layers } = explained();
  assert.deepEqual([effect, by], ["unknown", ""]);
  assert.equal(why, "would ask provider `opa`, by shop/ask[2]: deny if it denies; if it allows, allow by no-policy");
  assert.deepEqual(
    layers.map(({ action }) => action),
    ["CUSTOM", "AUDIT", "DENY", "ALLOW"],
  );
  assert.deepEqual(
    layers[0]?.rules.map(({ result, reasons }) => [result, reasons]),
    [["match", ["it asks provider `opa`"]]],
  );
});

test("with its answer given, the effect is what comes of it", () => {
  const denied = explained({ opa: "deny" });
  assert.deepEqual([denied.effect, denied.by], ["deny", "shop/ask[2]"]);
  assert.deepEqual(
    denied.layers.map(({ asked }) => asked),
    [true, false, false, false],
  );
  const allowed = explained({ opa: "allow" });
  assert.deepEqual([allowed.effect, allowed.by], ["allow", "no-policy"]);
});

test("a DENY is asked after what the authorizer allows", () => {
  const deny = { ...LAYERS, deny: [{ origin: { ...ORIGIN, policy: "deny" }, condition: { kind: "always" } }] } as const;
  assert.match(explained(undefined, deny).why, /if it allows, deny by shop\/deny\[2\]$/);
  assert.deepEqual(explained({ opa: "allow" }, deny).by, "shop/deny[2]");
});

test("a test says what the authorizer answers, or has no answer itself", () => {
  assert.equal(evaluate(engine, POLICY, request({ opa: "allow" })).effect, "allow");
  assert.equal(evaluate(engine, POLICY, request({ opa: "deny" })).effect, "deny");
  assert.throws(
    () => evaluate(engine, POLICY, request()),
    (thrown) =>
      thrown instanceof AppError && thrown.code === "invalid-argument" && thrown.help?.includes("authorizers: { opa: allow }") === true,
  );
});

test("an answer of a provider that the workload never asks is a mistake of the question", () => {
  assert.throws(() => evaluate(engine, POLICY, request({ opa: "allow", nope: "allow" })), {
    code: "invalid-argument",
    message: /asks no provider `nope`$/,
    help: "it asks `opa`",
  });
});

test("a CUSTOM rule is a sentence that names whom it asks", () => {
  assert.equal(describeRule("CUSTOM", RULE), "asks provider `opa` of everything");
  const when = [{ attribute: "method", argument: "", values: [{ kind: "exact", value: "GET" }], negated: false }] as const;
  assert.equal(
    describeRule("CUSTOM", { ...RULE, condition: { kind: "when", from: [], to: [], when } }),
    "asks provider `opa` if the method is `GET`",
  );
});
