/** Every case of the corpus, by the decision engine. `test/envoy/corpus.test.ts` asks a real Envoy the same. */
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { evaluate, meets } from "../../src/analyze/evaluate.ts";
import { compileDecision } from "../../src/render/decide/decide.ts";
import { normalizePath } from "../../src/render/decide/normalize-path.ts";
import { loadCorpus } from "./load.ts";

for (const { name, mesh, tests } of loadCorpus()) {
  describe(`corpus ${name}`, () => {
    for (const test of tests) {
      if (test.only === "envoy") continue;
      it(test.name, () => {
        const policy = mesh.policies.get(test.workload);
        assert.ok(policy, `no workload ${test.workload}`);
        const engine = { ...compileDecision(policy), normalizePath: (path: string) => normalizePath(path)?.path };
        const outcome = evaluate(engine, policy, test.request);
        assert.ok(
          meets(outcome, test.expect, test.by),
          `expected ${test.expect} by ${test.by ?? "anything"}, got ${outcome.effect} by ${outcome.by} ${outcome.why}`,
        );
      });
    }
  });
}
