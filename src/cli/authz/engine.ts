/** The decision engine, in the forms in which questions are asked. */
import type { ExplainingEngine } from "../../analyze/answer.ts";
import type { Engine } from "../../analyze/evaluate.ts";
import type { WorkloadPolicy } from "../../compile/workload-policy.ts";
import { askClause } from "../../render/decide/clause.ts";
import { compileDecision } from "../../render/decide/decide.ts";
import { normalizePath } from "../../render/decide/normalize-path.ts";

const pathOf: Engine["normalizePath"] = (target, mode) => normalizePath(target, mode)?.path;

export const EXPLAINING: ExplainingEngine = { ask: askClause, normalizePath: pathOf };

/** The engine of one workload. */
export function engineOf(policy: WorkloadPolicy): Engine {
  return { ...compileDecision(policy), normalizePath: pathOf };
}
