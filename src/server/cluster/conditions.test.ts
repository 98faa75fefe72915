import assert from "node:assert/strict";
import { test } from "node:test";
import type { Diagnostic } from "../../core/diagnostic.ts";
import { type Condition, nextConditions, type ObjectReport, readConditions } from "./conditions.ts";

const NOW = Date.UTC(2026, 10, 22, 12, 0, 0);
const THEN = "2026-11-01T00:00:00.000Z";
const place = { file: "AuthorizationPolicy shop/readers", line: 0, column: 0 };
const ERROR: Diagnostic = { code: "GAR0003", message: "unknown field `spec.actoin`", place };
const WARNING: Diagnostic = { code: "GAR0103", message: "the selector selects no workload", place };

function said(report: ObjectReport, before: readonly Condition[] = []) {
  return nextConditions(before, report, 3, NOW)?.map(({ type, status, reason, message }) => `${type} ${status} ${reason}: ${message}`);
}

test("an object in force is accepted, with what is to be told of it", () => {
  assert.deepEqual(said({ state: "current", instead: undefined, diagnostics: [] }), ["Accepted True Accepted: the object is in force"]);
  assert.deepEqual(said({ state: "current", instead: undefined, diagnostics: [WARNING] }), [
    "Accepted True Accepted: in force, but GAR0103: the selector selects no workload",
  ]);
});

for (const [state, instead] of [
  ["kept", "its last valid form stays in force"],
  ["closed", "it is closed: its mode is STRICT"],
  ["refused", "the object does not exist"],
] as const) {
  test(`an invalid object that is ${state} is not accepted, with the reason and what holds instead`, () => {
    assert.deepEqual(said({ state, instead, diagnostics: [ERROR, WARNING] }), [
      `Accepted False Invalid: GAR0003: unknown field \`spec.actoin\`; ${instead}`,
    ]);
  });
}

for (const [counts, wanted] of [
  [[0, 0, 0], "Unknown NoWorkloads: selects 0 workloads; enforced on 0 of 0 connected proxies"],
  [[1, 0, 0], "Unknown NoProxies: selects 1 workload; enforced on 0 of 0 connected proxies"],
  [[3, 2, 1], "False SomeProxies: selects 3 workloads; enforced on 1 of 2 connected proxies"],
  [[3, 1, 1], "True AllProxies: selects 3 workloads; enforced on 1 of 1 connected proxy"],
] as const) {
  test(`a policy for ${counts[0]} workloads with ${counts[2]} of ${counts[1]} proxies is ${wanted.split(":")[0]}`, () => {
    const [workloads, connected, enforced] = counts;
    assert.equal(
      said({ state: "current", instead: undefined, diagnostics: [], enforcement: { workloads, connected, enforced } })?.[1],
      `Enforced ${wanted}`,
    );
  });
}

test("what is said already is not written again", () => {
  const report: ObjectReport = { state: "current", instead: undefined, diagnostics: [] };
  const written = nextConditions([], report, 3, NOW);
  assert.ok(written);
  assert.equal(nextConditions(readConditions({ conditions: written }), report, 3, NOW + 1000), undefined);
  assert.notEqual(nextConditions(written, report, 4, NOW), undefined);
});

test("the time of a transition is that of the status, not of the words; others' conditions stay", () => {
  const accepted: Condition = {
    type: "Accepted",
    status: "True",
    reason: "Accepted",
    message: "x",
    observedGeneration: 2,
    lastTransitionTime: THEN,
  };
  const other: Condition = { ...accepted, type: "PassedAnalysis" };
  const next = nextConditions([other, accepted], { state: "current", instead: undefined, diagnostics: [] }, 3, NOW);
  assert.deepEqual(
    next?.map(({ type, lastTransitionTime }) => [type, lastTransitionTime]),
    [
      ["PassedAnalysis", THEN],
      ["Accepted", THEN],
    ],
  );
  const fallen = nextConditions([accepted], { state: "closed", instead: undefined, diagnostics: [ERROR] }, 3, NOW);
  assert.equal(fallen?.[0]?.lastTransitionTime, new Date(NOW).toISOString());
});

test("a status of another shape has no conditions, and a message has an end", () => {
  assert.deepEqual(
    [readConditions(undefined), readConditions({ conditions: {} }), readConditions({ conditions: [1, { type: 2 }] })],
    [[], [], []],
  );
  const long = { ...WARNING, message: "x".repeat(10_000) };
  const [only] = nextConditions([], { state: "current", instead: undefined, diagnostics: [long] }, 1, NOW) ?? [];
  assert.equal(only?.message.length, 2_001);
});
