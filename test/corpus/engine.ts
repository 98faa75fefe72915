import type { Engine } from "../../src/analyze/evaluate.ts";
import type { WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { compileDecision } from "../../src/render/decide/decide.ts";
import { normalizePath } from "../../src/render/decide/normalize-path.ts";

/** The decision engine as the evaluation of test cases asks it. */
export function decisionEngine(policy: WorkloadPolicy): Engine {
  return { ...compileDecision(policy), normalizePath: (path, mode) => normalizePath(path, mode)?.path };
}
