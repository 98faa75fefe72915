import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import type { AuthorizationPolicyObject, Clause, PolicyAction, Rule } from "../policy/model.ts";
import { formatOrigin } from "../policy/origin.ts";
import { compileAuthorization } from "./authorization.ts";
import type { AuthorizationLayers } from "./workload-policy.ts";

const method: Clause = { attribute: "method", argument: "", values: [{ kind: "exact", value: "GET" }], negated: false };
const port: Clause = { attribute: "destinationPort", argument: "", values: [{ kind: "port", port: 80 }], negated: false };
const principal: Clause = { attribute: "principal", argument: "", values: [{ kind: "present" }], negated: false };
const EVERYTHING: Rule = { from: [], to: [], when: [] };

function policy(
  key: string,
  action: PolicyAction,
  rules: readonly Rule[] | "invalid",
  selector: Readonly<Record<string, string>> = {},
): AuthorizationPolicyObject {
  return { kind: "AuthorizationPolicy", meta: meta(key), selector: labels(selector), action, rules };
}

function compiled(...policies: readonly AuthorizationPolicyObject[]): {
  readonly http: AuthorizationLayers;
  readonly tcp: AuthorizationLayers;
} {
  const snapshot = snapshotOf([workloadEntry("shop/cart"), ...policies]);
  const workload = snapshot.workloads.get("shop/cart");
  assert.ok(workload);
  return compileAuthorization(snapshot, workload);
}

function origins(rules: AuthorizationLayers["allow"]): readonly string[] | undefined {
  return rules?.map(({ origin }) => formatOrigin(origin));
}

describe("compileAuthorization", () => {
  it("leaves the ALLOW layer out where there is no ALLOW policy, so that nothing is denied by default (AZ-1)", () => {
    assert.deepEqual(compiled(policy("shop/d", "DENY", [EVERYTHING])).http.allow, undefined);
  });

  it("keeps an ALLOW layer without rules, which denies all (AZ-4)", () => {
    assert.deepEqual(compiled(policy("shop/nothing", "ALLOW", [])).http.allow, []);
  });

  it("makes `{}` match everything (AZ-4)", () => {
    assert.deepEqual(compiled(policy("shop/all", "ALLOW", [EVERYTHING])).http.allow?.[0]?.condition, { kind: "always" });
  });

  it("takes the policies of the root namespace and of the workload's own, and no others (AZ-16)", () => {
    const { http } = compiled(
      policy("istio-system/m", "ALLOW", [EVERYTHING]),
      policy("shop/n", "ALLOW", [EVERYTHING]),
      policy("other/o", "ALLOW", [EVERYTHING]),
    );
    assert.deepEqual(origins(http.allow), ["istio-system/m[0]", "shop/n[0]"]);
  });

  it("selects by labels, in the root namespace too (AZ-16)", () => {
    const { http } = compiled(
      policy("istio-system/mine", "ALLOW", [EVERYTHING], { app: "cart" }),
      policy("istio-system/not", "ALLOW", [EVERYTHING], { app: "other" }),
      policy("shop/not", "ALLOW", [EVERYTHING], { app: "cart", version: "v2" }),
    );
    assert.deepEqual(origins(http.allow), ["istio-system/mine[0]"]);
  });

  it("orders rules as Envoy does, by the name of the rule", () => {
    const many = new Array<Rule>(11).fill(EVERYTHING);
    assert.deepEqual(origins(compiled(policy("shop/b", "ALLOW", many), policy("shop/a", "ALLOW", [EVERYTHING])).http.allow)?.slice(0, 4), [
      "shop/a[0]",
      "shop/b[0]",
      "shop/b[10]",
      "shop/b[1]",
    ]);
  });

  it("never lets an ALLOW with an HTTP field match a TCP connection (AZ-8)", () => {
    const rule: Rule = { from: [[principal]], to: [[method, port]], when: [] };
    assert.deepEqual(compiled(policy("shop/a", "ALLOW", [rule])).tcp.allow?.[0]?.condition, { kind: "never" });
  });

  it("drops the HTTP field of a DENY on a TCP connection and keeps the rest (AZ-8)", () => {
    const rule: Rule = { from: [[principal]], to: [[method, port]], when: [] };
    assert.deepEqual(compiled(policy("shop/d", "DENY", [rule])).tcp.deny[0]?.condition, {
      kind: "when",
      from: [[principal]],
      to: [[port]],
      when: [],
    });
  });

  it("denies every TCP connection where one operation of a DENY is HTTP only (AZ-8)", () => {
    const rule: Rule = { from: [], to: [[method], [port]], when: [] };
    assert.deepEqual(compiled(policy("shop/d", "DENY", [rule])).tcp.deny[0]?.condition, { kind: "always" });
  });

  it("closes an invalid policy: ALLOW matches nothing, DENY everything", () => {
    const { http, tcp } = compiled(policy("shop/a", "ALLOW", "invalid"), policy("shop/d", "DENY", "invalid"));
    assert.deepEqual([http.allow?.[0]?.condition, http.deny[0]?.condition], [{ kind: "never" }, { kind: "always" }]);
    assert.deepEqual([tcp.allow?.[0]?.condition, tcp.deny[0]?.condition], [{ kind: "never" }, { kind: "always" }]);
  });
});
