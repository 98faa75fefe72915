/** Every case of the corpus again: what explains a decision must come to the same decision as the engine that makes it. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { answer } from "../../src/analyze/answer.ts";
import { evaluate } from "../../src/analyze/evaluate.ts";
import type { WorkloadView } from "../../src/analyze/workload-view.ts";
import { askClause } from "../../src/render/decide/clause.ts";
import { decisionEngine } from "./engine.ts";
import { loadCorpus } from "./load.ts";

for (const { name, policies, tests } of loadCorpus()) {
  describe(`corpus ${name}, explained`, () => {
    for (const test of tests.filter(({ only }) => only !== "envoy")) {
      it(test.name, () => {
        const policy = policies.get(test.workload);
        assert.ok(policy);
        const view: WorkloadView = { policy, ports: [], authorization: [], requestAuthentication: [] };
        const engine = decisionEngine(policy);
        const { effect, by, audit, why, layers } = answer({ ...engine, ask: askClause }, view, test.request);
        const decided = evaluate(engine, policy, test.request);
        assert.deepEqual({ effect, by, audit }, { effect: decided.effect, by: decided.by, audit: decided.audit });
        assert.notEqual(why, "");
        const matching = layers.filter(({ asked }) => asked).flatMap(({ rules }) => rules.filter(({ result }) => result === "match"));
        assert.ok(by === "" || !by.includes("[") || matching.some(({ rule }) => rule === by));
        const missing = layers.flatMap(({ rules }) => rules.filter(({ result }) => result === "miss"));
        assert.ok(missing.every(({ reasons }) => reasons.length > 0 && reasons.every((reason) => reason !== "")));
      });
    }
  });
}
