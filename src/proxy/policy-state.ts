/** The policy in force. Whoever decides reads it anew each time, so that a change holds for the very next decision. */
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { compileDecision, type DecisionEngine } from "../render/decide/decide.ts";
import { RequestAuthentication } from "../render/decide/tokens/authenticate.ts";
import { signatureCheck } from "../render/decide/tokens/verify.ts";
import { verifySignature } from "./token-signature.ts";

/** Something long that a new policy may have to end. */
export interface Standing {
  /** Ends it if the policy in force would not allow it any more. */
  reconsider(): void;
}

export interface CompiledPolicy {
  readonly policy: WorkloadPolicy;
  readonly engine: DecisionEngine;
  /** Asked before the engine; undefined where no rule looks at tokens. */
  readonly authentication: RequestAuthentication | undefined;
}

/** Throws `invalid-configuration` for what this version does not know. */
export function compilePolicy(policy: WorkloadPolicy, clock: Clock = systemClock): CompiledPolicy {
  const { requestAuthentication: rules } = policy;
  const checks = { signature: signatureCheck(verifySignature), now: () => clock.now() };
  return { policy, engine: compileDecision(policy), authentication: rules && new RequestAuthentication(rules, checks) };
}

export class PolicyState {
  readonly #standing = new Set<Standing>();
  #current: CompiledPolicy;

  constructor(first: CompiledPolicy) {
    this.#current = first;
  }

  get policy(): WorkloadPolicy {
    return this.#current.policy;
  }

  get engine(): DecisionEngine {
    return this.#current.engine;
  }

  get authentication(): RequestAuthentication | undefined {
    return this.#current.authentication;
  }

  /** Puts a policy into force, and ends what it does not allow. */
  replace(next: CompiledPolicy): void {
    this.#current = next;
    for (const one of [...this.#standing]) one.reconsider();
  }

  /** Keeps `standing` under review until the returned function is called. */
  watch(standing: Standing): () => void {
    this.#standing.add(standing);
    return () => this.#standing.delete(standing);
  }
}
