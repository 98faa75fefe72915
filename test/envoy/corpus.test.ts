/** Every case of the corpus, by a real Envoy: the same effect and the same origin as `test/corpus/decide.test.ts` expects. */
import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { after, before, describe, it } from "node:test";
import { evaluate, meets, type Outcome } from "../../src/analyze/evaluate.ts";
import type { TestCase } from "../../src/analyze/test-case.ts";
import type { WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { firstAudit, ProvingEnvoy } from "../../src/prove/proving-envoy.ts";
import { decisionEngine } from "../corpus/engine.ts";
import { type CorpusFile, loadCorpus } from "../corpus/load.ts";
import { findEnvoy, skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();
const hasIpv6 = Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === "::1"));

/** What Envoy answered, and what the engine says of the very same place and request. */
interface Answers {
  readonly envoy: Outcome;
  readonly decide: Outcome;
}

const files = loadCorpus();
const answers = new Map<TestCase, Answers>();
let engine: ProvingEnvoy | undefined;

function policyOf({ policies }: CorpusFile, { workload }: TestCase): WorkloadPolicy {
  const policy = policies.get(workload);
  assert.ok(policy, workload);
  return policy;
}

/** Why this machine's Envoy cannot be asked; false where it can. */
function reasonToSkip(file: CorpusFile, test: TestCase): string | false {
  const isIpv6 = policyOf(file, test).inbound.some(({ bind }) => bind.includes(":"));
  return skip || (isIpv6 && !hasIpv6 && "no IPv6 loopback");
}

function asked({ tests }: CorpusFile): readonly TestCase[] {
  return tests.filter(({ only }) => only !== "decide");
}

before(async () => {
  if (skip) return;
  engine = await ProvingEnvoy.start(findEnvoy() ?? "");
  const cases = files.flatMap((file) =>
    asked(file).flatMap((test) => (reasonToSkip(file, test) === false ? [{ test, policy: policyOf(file, test) }] : [])),
  );
  const policies = [...new Set(cases.map(({ policy }) => policy))];
  // Denied clients are told the rule in each case, and told what the record says.
  const placed = await engine.load(policies.map((policy) => ({ ...policy, tellsDenials: true })));
  const questions = cases.flatMap(({ test, policy }) => {
    const where = placed[policies.indexOf(policy)];
    return where === undefined ? [] : [{ test, policy: where, request: test.request }];
  });
  const outcomes = await engine.ask(questions);
  for (const [index, { test, policy, request }] of questions.entries()) {
    const envoy = outcomes[index];
    if (envoy !== undefined) answers.set(test, { envoy, decide: evaluate(decisionEngine(policy), policy, request) });
  }
});

after(() => engine?.stop());

function words({ effect, by, audit, why, dryRun }: Outcome): string {
  return `${effect} by \`${by}\`, audit [${audit}], dry run ${dryRun?.effect} by ${dryRun?.by} ${why}`;
}

for (const file of files) {
  describe(`corpus ${file.name} in a real Envoy`, () => {
    for (const test of asked(file)) {
      it(test.name, { skip: reasonToSkip(file, test) }, () => {
        const { envoy, decide } = answers.get(test) ?? assert.fail("it was not asked");
        const audit = test.audit?.slice(0, 1);
        assert.ok(meets(envoy, { ...test, audit }), `expected ${test.expect} by ${test.by}, audit ${audit}, got ${words(envoy)}`);
        const { effect, by, status, dryRun } = decide;
        const { audit: seen } = envoy;
        assert.deepEqual(
          { effect: envoy.effect, by: envoy.by, audit: seen, status: envoy.status, dryRun: envoy.dryRun },
          { effect, by, audit: firstAudit(decide), status, dryRun },
        );
      });
    }
  });
}
