import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { AuthorizationLayers, CompiledRule, Condition } from "../compile/workload-policy.ts";
import type { Facts } from "../policy/decision.ts";
import type { Clause } from "../policy/model.ts";
import { formatOrigin } from "../policy/origin.ts";
import { askClause } from "../render/decide/clause.ts";
import { compileDecision } from "../render/decide/decide.ts";
import { explain, type Question, type RuleFinding } from "./explain.ts";

const FACTS: Facts = {
  peer: "spiffe://cluster.local/ns/shop/sa/web",
  sourceIp: "10.0.0.7",
  remoteIp: "10.0.0.7",
  destinationIp: "10.0.0.1",
  destinationPort: 8080,
  sni: "",
  http: { method: "GET", path: "/a", host: "api", headers: new Map() },
};

function clause(attribute: "method" | "path" | "namespace" | "header", value: string, negated = false): Clause {
  return { attribute, argument: attribute === "header" ? "x-a" : "", values: [{ kind: "exact", value }], negated };
}

const [GET, PUT, PATH_A, PATH_B] = [clause("method", "GET"), clause("method", "PUT"), clause("path", "/a"), clause("path", "/b")];
const HEADER = clause("header", "1");

function rule(policy: string, part: Partial<Extract<Condition, { readonly kind: "when" }>>): CompiledRule {
  return { origin: { namespace: "shop", policy, rule: 0 }, condition: { kind: "when", from: [], to: [], when: [], ...part } };
}

function layers(part: Partial<AuthorizationLayers>): AuthorizationLayers {
  return { audit: [], deny: [], allow: undefined, ...part };
}

const EVERYTHING: Question = { facts: FACTS, knows: () => true };
const NO_HEADERS = { facts: FACTS, knows: ({ attribute }: Clause) => attribute !== "header" };

function allowRules(rules: readonly CompiledRule[], question = EVERYTHING): readonly RuleFinding[] {
  return explain(askClause, layers({ allow: rules }), question).layers[2]?.rules ?? [];
}

describe("explain", () => {
  it("names every clause that fails with the value that it saw, in the order in which they are written", () => {
    const [found] = allowRules([rule("p", { from: [[clause("namespace", "bank")]], to: [[PUT, PATH_A]], when: [HEADER] })]);
    assert.equal(found?.result, "miss");
    assert.deepEqual(
      found.misses.map(({ clause: { attribute }, seen }) => [attribute, seen]),
      [
        ["namespace", ["shop"]],
        ["method", ["GET"]],
        ["header", []],
      ],
    );
  });

  it("takes of several alternatives the one that is nearest", () => {
    const [found] = allowRules([
      rule("p", {
        to: [
          [PUT, PATH_B],
          [PUT, PATH_A],
        ],
      }),
    ]);
    assert.deepEqual(found?.misses, [{ clause: PUT, seen: ["GET"] }]);
    assert.equal(allowRules([rule("p", { to: [[PUT], [GET]] })])[0]?.result, "match");
  });

  it("marks as nearest only the first rule that misses by the fewest clauses", () => {
    const found = allowRules([rule("two", { to: [[PUT, PATH_B]] }), rule("one", { to: [[PUT]] }), rule("also-one", { to: [[PATH_B]] })]);
    assert.deepEqual(
      found.map(({ nearest }) => nearest),
      [false, true, false],
    );
  });

  it("marks none as nearest where a rule matches, nor one that never can", () => {
    assert.ok(allowRules([rule("miss", { to: [[PUT]] }), rule("match", { to: [[GET]] })]).every(({ nearest }) => !nearest));
    const never: CompiledRule = { origin: { namespace: "shop", policy: "n", rule: 0 }, condition: { kind: "never" } };
    assert.ok(allowRules([never]).every(({ nearest, result }) => !nearest && result === "miss"));
  });

  it("says that ALLOW is not asked where a DENY rule decides", () => {
    const both = explain(askClause, layers({ deny: [rule("d", {})], allow: [rule("a", {})] }), EVERYTHING);
    assert.deepEqual(
      both.layers.map(({ action, asked }) => `${action} ${asked}`),
      ["AUDIT true", "DENY true", "ALLOW false"],
    );
  });
});

describe("explain with facts that nobody knows", () => {
  it("leaves open what hangs on them", () => {
    assert.equal(explain(askClause, layers({ deny: [rule("d", { when: [HEADER] })] }), NO_HEADERS).decision, undefined);
    assert.equal(explain(askClause, layers({ allow: [rule("a", { when: [HEADER] })] }), NO_HEADERS).decision, undefined);
  });

  it("still asks ALLOW where a DENY rule only may match", () => {
    const { layers: found } = explain(askClause, layers({ deny: [rule("d", { when: [HEADER] })], allow: [rule("a", {})] }), NO_HEADERS);
    assert.equal(found[2]?.asked, true);
  });

  it("takes an alternative that holds before one that may", () => {
    for (const to of [
      [[HEADER], [GET]],
      [[GET], [HEADER]],
    ])
      assert.equal(allowRules([rule("p", { to })], NO_HEADERS)[0]?.result, "match");
  });

  it("decides where a clause that is known fails anyway, or a rule before it matches", () => {
    const failing = explain(askClause, layers({ deny: [rule("d", { to: [[PUT]], when: [HEADER] })] }), NO_HEADERS);
    assert.deepEqual(failing.decision?.because, { kind: "no-policy" });
    const before = explain(askClause, layers({ allow: [rule("a", { to: [[GET]] }), rule("b", { when: [HEADER] })] }), NO_HEADERS);
    assert.equal(before.decision?.effect, "allow");
  });
});

// === Against the engine ===

const clauses = fc.constantFrom(GET, PUT, PATH_A, PATH_B, HEADER, clause("header", "1", true), clause("method", "PUT", true));
const alternatives = fc.array(fc.array(clauses, { minLength: 1, maxLength: 3 }), { maxLength: 2 });
const conditions: fc.Arbitrary<Condition> = fc.oneof(
  { weight: 1, arbitrary: fc.constantFrom<Condition>({ kind: "always" }, { kind: "never" }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("when" as const),
      from: alternatives,
      to: alternatives,
      when: fc.array(clauses, { maxLength: 2 }),
    }),
  },
);
const ruleLists = (policy: string) =>
  fc
    .array(conditions, { maxLength: 3 })
    .map((each) => each.map((condition, index): CompiledRule => ({ origin: { namespace: "shop", policy, rule: index }, condition })));
const policies: fc.Arbitrary<AuthorizationLayers> = fc.record({
  audit: ruleLists("audit"),
  deny: ruleLists("deny"),
  allow: fc.option(ruleLists("allow"), { nil: undefined }),
});
const requests = fc
  .record({
    method: fc.constantFrom("GET", "PUT"),
    path: fc.constantFrom("/a", "/b"),
    header: fc.option(fc.constantFrom("1", "2"), { nil: undefined }),
  })
  .map(({ method, path, header }): Facts => {
    const headers = new Map(header === undefined ? [] : [["x-a", [header]]]);
    return { ...FACTS, http: { method, path, host: "api", headers } };
  });

describe("explain beside the engine", () => {
  it("comes to the engine's decision, origin and AUDIT rules, whatever the rules and the request", () => {
    fc.assert(
      fc.property(policies, requests, (http, facts) => {
        const decided = compileDecision({ http, tcp: layers({}) }).http(facts);
        const { decision } = explain(askClause, http, { facts, knows: () => true });
        assert.deepEqual(decision, decided);
      }),
      { numRuns: 500 },
    );
  });

  it("never decides without a fact otherwise than the engine does with it", () => {
    fc.assert(
      fc.property(policies, requests, (http, facts) => {
        const decided = compileDecision({ http, tcp: layers({}) }).http(facts);
        const { decision } = explain(askClause, http, { ...NO_HEADERS, facts });
        assert.deepEqual(
          decision === undefined ? undefined : [decision.effect, decision.because],
          decision === undefined ? undefined : [decided.effect, decided.because],
        );
        assert.ok((decision?.audit ?? []).every((origin) => decided.audit.map(formatOrigin).includes(formatOrigin(origin))));
      }),
      { numRuns: 500 },
    );
  });
});
