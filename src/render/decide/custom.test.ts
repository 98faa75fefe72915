import assert from "node:assert/strict";
import test from "node:test";
import type { AuthorizationLayers, CompiledRule, Condition, CustomRule } from "../../compile/workload-policy.ts";
import { type AuthorizerAnswer, type Facts, formatBecause } from "../../policy/decision.ts";
import { compileDecision } from "./decide.ts";

const ALWAYS: Condition = { kind: "always" };

function onPath(value: string): Condition {
  return {
    kind: "when",
    from: [],
    to: [],
    when: [{ attribute: "path", argument: "", values: [{ kind: "prefix", value }], negated: false }],
  };
}

function rule(policy: string, condition: Condition): CompiledRule {
  return { origin: { namespace: "ns", policy, rule: 0 }, condition };
}

function ask(provider: string, policy: string, condition: Condition): CustomRule {
  return { ...rule(policy, condition), provider, place: provider.charCodeAt(0) };
}

function layers(partial: Partial<AuthorizationLayers>): AuthorizationLayers {
  return { audit: [], deny: [], allow: undefined, ...partial };
}

function facts(path: string, answers: Readonly<Record<string, AuthorizerAnswer>> = {}): Facts {
  const http = { method: "GET", path, host: "h", headers: new Map() };
  const common = { peer: undefined, sourceIp: "10.0.0.1", remoteIp: "10.0.0.1", destinationIp: "10.0.0.2", destinationPort: 80, sni: "" };
  return { ...common, http, authorizers: new Map(Object.entries(answers)) };
}

const http = layers({
  custom: [ask("a", "one", onPath("/x")), ask("a", "two", onPath("/x/y")), ask("b", "three", onPath("/x/y"))],
  audit: [rule("watch", ALWAYS)],
  deny: [rule("deny", onPath("/x/denied"))],
  allow: [rule("allow", onPath("/x"))],
});
const engine = compileDecision({ http, tcp: layers({ custom: [ask("c", "tcp", ALWAYS)] }) });

function decide(asked: Facts): string {
  const { effect, because, audit } = engine.http(asked);
  return `${effect} ${formatBecause(because)}${audit.length === 0 ? "" : " audited"}`;
}

test("each provider whose rules match is asked once, for the first of them", () => {
  const askings = (path: string) => engine.asksHttp(facts(path)).map(({ provider, origin }) => `${provider} ${origin.policy}`);
  assert.deepEqual(askings("/"), []);
  assert.deepEqual(askings("/x"), ["a one"]);
  assert.deepEqual(askings("/x/y"), ["a one", "b three"]);
});

test("without the answer of every provider that must be asked, the decision is to deny", () => {
  assert.equal(decide(facts("/x")), "deny ns/one[0]");
  assert.equal(decide(facts("/x/y", { a: "allow" })), "deny ns/three[0]");
  assert.equal(decide(facts("/x/y", { a: "allow", b: "deny" })), "deny ns/three[0]");
  assert.equal(decide(facts("/x", { b: "allow" })), "deny ns/one[0]");
});

test("what all providers allow is decided by DENY and ALLOW; what one refuses is not even audited", () => {
  assert.equal(decide(facts("/x/y", { a: "allow", b: "allow" })), "allow ns/allow[0] audited");
  assert.equal(decide(facts("/x/denied", { a: "allow" })), "deny ns/deny[0] audited");
  assert.equal(decide(facts("/x/denied", { a: "deny" })), "deny ns/one[0]");
  assert.equal(decide(facts("/")), "deny default audited");
});

test("CUSTOM rules are about the request as it was asked of, whatever has changed it since", () => {
  const before = facts("/x");
  assert.equal(decide({ ...facts("/x/y", { a: "allow" }), asked: before }), "allow ns/allow[0] audited");
  assert.equal(decide({ ...facts("/x", { a: "allow" }), asked: facts("/x/y") }), "deny ns/three[0]");
});

test("a connection is asked of its own providers", () => {
  const connection: Facts = { ...facts("/x"), http: undefined };
  assert.deepEqual(
    engine.asksTcp(connection).map(({ provider }) => provider),
    ["c"],
  );
  assert.equal(engine.tcp(connection).effect, "deny");
  assert.equal(engine.tcp({ ...connection, authorizers: new Map([["c", "allow"]]) }).effect, "allow");
});
