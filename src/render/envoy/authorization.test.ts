import assert from "node:assert/strict";
import { test } from "node:test";
import { clause, denies, facts, NOTHING, rendered, rule, whenClauses } from "../../../test/envoy/rbac-questions.ts";
import type { Condition } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import { RBAC_Action } from "../../gen/envoy/config/rbac/v3/rbac_pb.js";
import type { Clause } from "../../policy/model.ts";
import type { ValueMatch } from "../../policy/pattern.ts";
import { authorizationFilterNames, authorizationFilters } from "./authorization.ts";

// === Layers ===

test("the filters of a workload are named after it, in the order in which they are asked", () => {
  assert.deepEqual(authorizationFilterNames("photo-ns/photo-backend", "tcp"), [
    "photo-ns/photo-backend/tcp/audit",
    "photo-ns/photo-backend/tcp/deny",
    "photo-ns/photo-backend/tcp/dry-run",
    "photo-ns/photo-backend/tcp/allow",
  ]);
  const filters = authorizationFilters("photo-ns/photo-backend", "http", NOTHING);
  assert.deepEqual(
    filters.map(({ name }) => name),
    authorizationFilterNames("photo-ns/photo-backend", "http"),
  );
});

for (const transport of ["http", "tcp"] as const) {
  test(`without policies the ${transport} filters hold no rules, so that everything passes`, () => {
    for (const filter of rendered(transport, {})) {
      assert.equal(filter.rules, undefined);
      assert.equal(filter.shadowRules, undefined);
    }
  });

  test(`an ALLOW without rules for ${transport} is there, and lets nothing pass`, () => {
    const allow = rendered(transport, { allow: [] }).at(-1);
    assert.equal(allow?.rules?.action, RBAC_Action.ALLOW);
    assert.deepEqual(allow?.rules?.policies, {});
  });

  test(`AUDIT rules for ${transport} are shadow rules, which cannot block`, () => {
    const [audit] = rendered(transport, { audit: [rule({ kind: "always" })] });
    assert.equal(audit?.rules, undefined);
    assert.equal(audit?.shadowRulesStatPrefix, "audit_");
    assert.deepEqual(Object.keys(audit?.shadowRules?.policies ?? {}), ["ns[photo-ns]-policy[p]-rule[0]"]);
  });

  test(`the ${transport} rule list keeps each rule under Istio's name of it`, () => {
    const [, deny] = rendered(transport, { deny: [rule({ kind: "always" }, 0), rule({ kind: "never" }, 1)] });
    assert.equal(deny?.rules?.action, RBAC_Action.DENY);
    assert.deepEqual(Object.keys(deny?.rules?.policies ?? {}), ["ns[photo-ns]-policy[p]-rule[0]", "ns[photo-ns]-policy[p]-rule[1]"]);
  });
}

test("the ALLOW rules of TCP stand as shadow rules once more, because the network filter tells of no others", () => {
  const allow = rendered("tcp", { allow: [rule({ kind: "always" })] }).at(-1);
  assert.deepEqual(allow?.shadowRules, allow?.rules);
  assert.equal(allow?.shadowRulesStatPrefix, "allow_");
});

for (const transport of ["http", "tcp"] as const) {
  test(`dry runs for ${transport} are shadow rules under Istio's prefixes, and nothing is enforced of them`, () => {
    const filters = rendered(transport, { dryRun: { deny: [rule({ kind: "always" })], allow: [rule({ kind: "never" }, 1)] } });
    assert.ok(filters.every(({ rules }) => rules === undefined));
    const told = filters.flatMap(({ shadowRules, shadowRulesStatPrefix }) =>
      shadowRules === undefined ? [] : [[shadowRulesStatPrefix, shadowRules.action, ...Object.keys(shadowRules.policies)]],
    );
    assert.deepEqual(told, [
      ["istio_dry_run_deny_", RBAC_Action.DENY, "ns[photo-ns]-policy[p]-rule[0]"],
      ["istio_dry_run_allow_", RBAC_Action.ALLOW, "ns[photo-ns]-policy[p]-rule[1]"],
    ]);
  });

  test(`of dry runs for ${transport} without DENY rules, the DENY filter still says that there are some`, () => {
    const [, deny] = rendered(transport, { dryRun: { deny: [], allow: [] } });
    assert.deepEqual([deny?.shadowRules?.action, deny?.shadowRules?.policies], [RBAC_Action.DENY, {}]);
  });
}

test("two rules of one name are refused instead of one of them being lost", () => {
  const twice = { ...NOTHING, deny: [rule({ kind: "always" }), rule({ kind: "never" })] };
  assert.throws(() => authorizationFilters("a/b", "http", twice), AppError);
});

// === Conditions ===

test("`always` matches everything and `never` nothing, with a peer and without", () => {
  for (const asked of [facts(), facts({ peer: undefined, http: undefined })]) {
    assert.equal(denies({ kind: "always" }, asked), true);
    assert.equal(denies({ kind: "never" }, asked), false);
  }
});

test("from is OR of AND, to is OR of AND, when is AND, and the three are joined by AND", () => {
  const yes = clause("method", { kind: "exact", value: "GET" });
  const no = clause("method", { kind: "exact", value: "PUT" });
  const from = clause("namespace", { kind: "exact", value: "photo-ns" });
  const notFrom = clause("namespace", { kind: "exact", value: "other" });
  const when = (condition: Partial<Extract<Condition, { kind: "when" }>>): boolean =>
    denies({ kind: "when", from: [], to: [], when: [], ...condition }, facts());
  assert.equal(when({ to: [[no], [yes]] }), true);
  assert.equal(when({ to: [[no, yes]] }), false);
  assert.equal(when({ from: [[notFrom], [from]] }), true);
  assert.equal(when({ from: [[notFrom, from]] }), false);
  assert.equal(when({ when: [yes, no] }), false);
  assert.equal(when({ when: [yes, from] }), true);
  assert.equal(when({ from: [[notFrom]], to: [[yes]] }), false);
  assert.equal(when({ from: [[from]], to: [[yes]], when: [notFrom] }), false);
});

test("a negated clause is NOT of OR, and a plaintext peer satisfies it", () => {
  const values: readonly ValueMatch[] = [
    { kind: "exact", value: "photo-ns" },
    { kind: "exact", value: "other" },
  ];
  const not: Condition = whenClauses({ attribute: "namespace", argument: "", values, negated: true });
  assert.equal(denies(not, facts()), false);
  assert.equal(denies(not, facts({ peer: "spiffe://cluster.local/ns/third/sa/x" })), true);
  assert.equal(denies(not, facts({ peer: undefined })), true);
});

// === Defects are closed ===

test("an attribute of HTTP is refused in rules for TCP, where Envoy would quietly never match it", () => {
  const rules = { ...NOTHING, deny: [rule(whenClauses(clause("path", { kind: "exact", value: "/x" })))] };
  assert.throws(() => authorizationFilters("a/b", "tcp", rules), /`path` is unknown of a TCP connection/);
});

test("a clause without values is refused, because an empty OR would match everything", () => {
  const empty: Clause = { attribute: "path", argument: "", values: [], negated: false };
  assert.throws(() => authorizationFilters("a/b", "http", { ...NOTHING, allow: [rule(whenClauses(empty))] }), /`path` has no values/);
});

test("a clause on the wrong side of a rule is refused", () => {
  const path = clause("path", { kind: "exact", value: "/x" });
  const peer = clause("namespace", { kind: "exact", value: "x" });
  const wrongFrom = rule({ kind: "when", from: [[path]], to: [], when: [] });
  const wrongTo = rule({ kind: "when", from: [], to: [[peer]], when: [] });
  assert.throws(() => authorizationFilters("a/b", "http", { ...NOTHING, deny: [wrongFrom] }), /does not describe a peer/);
  assert.throws(() => authorizationFilters("a/b", "http", { ...NOTHING, deny: [wrongTo] }), /does not describe an operation/);
});

test("a value of another kind than the attribute's is refused", () => {
  for (const [attribute, value] of [
    ["path", { kind: "port", port: 1 }],
    ["sourceIp", { kind: "exact", value: "10.0.0.0/8" }],
    ["destinationPort", { kind: "exact", value: "80" }],
    ["serviceAccount", { kind: "exact", value: "a/b" }],
  ] as const) {
    assert.throws(
      () => authorizationFilters("a/b", "http", { ...NOTHING, deny: [rule(whenClauses(clause(attribute, value)))] }),
      /has no matcher/,
    );
  }
});
