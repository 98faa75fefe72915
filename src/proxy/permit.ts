/** Proof as a value: what leads to the application takes a `Permit`, and only an allowing decision makes one. */
import type { Decision } from "../policy/decision.ts";

/** Not constructible outside this file, and no object of another shape fits in its place. */
class AllowedByPolicy {
  readonly #decision: Decision;

  constructor(decision: Decision) {
    this.#decision = decision;
  }

  /** The decision that stands behind it, always with the effect `allow`. */
  get decision(): Decision {
    return this.#decision;
  }
}

export type Permit = AllowedByPolicy;

/** The permit that a decision grants; undefined where it denies. */
export function grant(decision: Decision): Permit | undefined {
  return decision.effect === "allow" ? new AllowedByPolicy(decision) : undefined;
}
