import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { API, authorizationPolicy, meshOf } from "../../test/fixture/yaml-mesh.ts";
import type { CompiledRule } from "../compile/workload-policy.ts";
import type { Clause, PolicyAction } from "../policy/model.ts";
import { describeMiss, describeRule, describeUnknown } from "./words.ts";

/** The HTTP rule of a policy with this one rule. */
function ruleOf(rule: string, action: PolicyAction = "ALLOW"): CompiledRule {
  const mesh = meshOf(API + authorizationPolicy("p", `{ action: ${action}, rules: [${rule}] }`));
  const { audit = [], deny = [], allow = [] } = mesh.policies.get("shop/api")?.http ?? {};
  const [found] = [...audit, ...deny, ...allow];
  assert.ok(found);
  return found;
}

const path: Clause = { attribute: "path", argument: "", values: [{ kind: "prefix", value: "/a" }], negated: false };

describe("describeRule", () => {
  const SENTENCES: readonly (readonly [rule: string, sentence: string])[] = [
    ["{}", "allows everything"],
    [
      '{ to: [{ operation: { methods: ["GET"], paths: ["/a", "/b/*"] } }] }',
      "allows if the method is `GET` and the path is `/a` or `/b/*`",
    ],
    [
      '{ from: [{ source: { namespaces: ["web"] } }, { source: { principals: ["*"] } }], to: [{ operation: { notMethods: ["PUT"] } }] }',
      "allows if (the peer's namespace is `web`, or the peer's principal is anything) and the method is not `PUT`",
    ],
    [
      '{ when: [{ key: "request.headers[x-v]", values: ["1", "2", "3"] }, { key: source.ip, notValues: ["10.0.0.0/8"] }] }',
      "allows if the header `x-v` is `1`, `2` or `3` and the source IP is not `10.0.0.0/8`",
    ],
    [
      '{ when: [{ key: "request.auth.claims[realm][roles]", values: [admin] }] }',
      "allows if the claim `request.auth.claims[realm][roles]` is `admin`",
    ],
    ['{ from: [{ source: { serviceAccounts: ["web"] } }] }', "allows if the peer's service account is `shop/web`"],
  ];
  for (const [rule, sentence] of SENTENCES)
    it(`says that a rule ${sentence}`, () => assert.equal(describeRule("ALLOW", ruleOf(rule)), sentence));

  it("has a verb for each action", () => {
    assert.equal(describeRule("DENY", ruleOf("{}", "DENY")), "denies everything");
    assert.equal(describeRule("AUDIT", ruleOf("{}", "AUDIT")), "notes everything");
  });

  it("shows the first of many values and how many more there are", () => {
    const ports = Array.from({ length: 20 }, (_, index) => `"${index + 1}"`).join(", ");
    const sentence = describeRule("ALLOW", ruleOf(`{ to: [{ operation: { ports: [${ports}] } }] }`));
    assert.match(sentence, /is `1`, `2`, .*`8` or 12 more$/);
  });
});

describe("describeMiss", () => {
  it("tells the value that was seen and what the rule wants", () => {
    assert.equal(describeMiss(path, ["/x"]), "the path is `/x`, not `/a*`");
  });
  it("tells what a negative field excludes", () => {
    assert.equal(describeMiss({ ...path, negated: true }, ["/ab"]), "the path is `/ab`, and the rule excludes `/a*`");
  });
  it("tells that there was nothing to see, and of an identity why", () => {
    assert.equal(describeMiss({ ...path, attribute: "header", argument: "x-a" }, []), "the header `x-a` is missing; the rule wants `/a*`");
    assert.match(
      describeMiss({ ...path, attribute: "namespace" }, []),
      /^the peer's namespace is missing, since the caller proved no identity;/,
    );
  });
  it("lets nothing that a caller sent reach the terminal raw, or run on without end", () => {
    const text = describeMiss(path, [`/\u001b[2J\u202e${"a".repeat(5000)}`]);
    assert.match(text, /\\u\{1b\}\[2J\\u\{202e\}/);
    assert.ok(text.length < 300);
  });
});

describe("describeUnknown", () => {
  it("tells what the rule would want", () => {
    assert.equal(describeUnknown(path), "the path is unknown; the rule wants `/a*`");
    assert.equal(describeUnknown({ ...path, negated: true }), "the path is unknown; the rule wants anything but `/a*`");
  });
});
