/** Every case of the corpus, by the decision engine. `test/envoy/corpus.test.ts` asks a real Envoy the same. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { evaluate, meets } from "../../src/analyze/evaluate.ts";
import { decisionEngine } from "./engine.ts";
import { loadCorpus } from "./load.ts";

for (const { name, policies, tests } of loadCorpus()) {
  describe(`corpus ${name}`, () => {
    for (const test of tests.filter(({ only }) => only !== "envoy")) {
      it(test.name, () => {
        const policy = policies.get(test.workload);
        assert.ok(policy);
        const outcome = evaluate(decisionEngine(policy), policy, test.request);
        const { effect, by, audit, why } = outcome;
        const expected = `expected ${test.expect} by ${test.by} with audit ${test.audit ?? "unasked"}`;
        assert.ok(meets(outcome, test), `${expected}, got ${effect} by ${by} with audit ${audit} ${why}`);
      });
    }
  });
}
