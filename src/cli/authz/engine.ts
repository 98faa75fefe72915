/** The decision engine, in the forms in which questions are asked. */
import type { ExplainingEngine } from "../../analyze/answer.ts";
import type { Arriving, Engine } from "../../analyze/evaluate.ts";
import type { WorkloadPolicy } from "../../compile/workload-policy.ts";
import { systemClock } from "../../core/clock.ts";
import { verifySignature } from "../../proxy/token-signature.ts";
import { askClause } from "../../render/decide/clause.ts";
import { compileDecision } from "../../render/decide/decide.ts";
import { normalizePath } from "../../render/decide/normalize-path.ts";
import { askTokens, vouchedToken } from "../../render/decide/tokens/ask.ts";

/** Signatures of raw tokens are verified, and their times are held against this machine's clock. */
const ARRIVING: Arriving = {
  normalizePath,
  tokenOf: vouchedToken,
  authenticate: (asked) => askTokens(asked, verifySignature, systemClock.now()),
};

export const EXPLAINING: ExplainingEngine = { ask: askClause, ...ARRIVING };

/** The engine of one workload. */
export function engineOf(policy: WorkloadPolicy): Engine {
  return { ...compileDecision(policy), ...ARRIVING };
}
