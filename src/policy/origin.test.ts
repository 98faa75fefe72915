import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { formatEnvoyPolicyId, formatOrigin, parseEnvoyPolicyId } from "./origin.ts";

const ORIGIN = { namespace: "shop", policy: "cart.v2", rule: 3 };

describe("an origin", () => {
  it("is NAMESPACE/POLICY[RULE] for people", () => assert.equal(formatOrigin(ORIGIN), "shop/cart.v2[3]"));

  it("is Istio's name of the rule for Envoy (AZ-2)", () => assert.equal(formatEnvoyPolicyId(ORIGIN), "ns[shop]-policy[cart.v2]-rule[3]"));

  it("comes back out of Envoy's name of it, for any names that Kubernetes allows", () => {
    const name = fc.stringMatching(/^[a-z0-9][-a-z0-9.]{0,20}[a-z0-9]$/);
    fc.assert(
      fc.property(name, name, fc.nat(), (namespace, policy, rule) => {
        const origin = { namespace, policy, rule };
        assert.deepEqual(parseEnvoyPolicyId(formatEnvoyPolicyId(origin)), origin);
      }),
    );
  });

  it("gives different rules different names", () => {
    const ids = [
      { namespace: "a", policy: "b-rule", rule: 1 },
      { namespace: "a", policy: "b", rule: 1 },
      { namespace: "a", policy: "b", rule: 11 },
      { namespace: "a-policy", policy: "b", rule: 1 },
    ].map(formatEnvoyPolicyId);
    assert.equal(new Set(ids).size, ids.length);
  });

  for (const text of [
    "",
    "none",
    "ns[a]-policy[b]-rule[x]",
    "ns[a]-policy[b]-rule[1]x",
    "xns[a]-policy[b]-rule[1]",
    "istio-ext-authz-opa-ns[a]-policy[b]-rule[1]",
    "ns[a]-policy[b]-rule[-1]",
  ]) {
    it(`is not read out of \`${text}\``, () => assert.equal(parseEnvoyPolicyId(text), undefined));
  }
});
