/** A bucket of calls for each caller: it fills steadily, and what is not in it is refused. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { steady } from "../core/steady.ts";

export interface RateLimitOptions {
  readonly perSecond: number;
  /** How many calls may come together after a silence. */
  readonly atOnce: number;
  readonly clock: Clock;
}

interface Bucket {
  readonly left: number;
  /** Milliseconds. */
  readonly at: number;
}

/** Full buckets say nothing and are forgotten when there are more of them. */
const MAX_BUCKETS = 10_000;

export class RateLimit {
  readonly #options: RateLimitOptions;
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: RateLimitOptions) {
    this.#options = { ...options, clock: steady(options.clock) };
  }

  /** Counts one call. Throws `resource-exhausted` for one too many. */
  take(caller: string): void {
    const left = this.#left(caller) - 1;
    if (left < 0)
      throw new AppError("resource-exhausted", `more than ${this.#options.perSecond} calls a second`, {
        help: "come back in a second",
        retryAfterMs: 1_000,
      });
    this.#buckets.set(caller, { left, at: this.#options.clock.now() });
    if (this.#buckets.size > MAX_BUCKETS) this.#forget();
  }

  #left(caller: string): number {
    const { perSecond, atOnce, clock } = this.#options;
    const { left, at } = this.#buckets.get(caller) ?? { left: atOnce, at: clock.now() };
    return Math.min(atOnce, left + ((clock.now() - at) / 1000) * perSecond);
  }

  #forget(): void {
    for (const caller of [...this.#buckets.keys()]) if (this.#left(caller) >= this.#options.atOnce) this.#buckets.delete(caller);
  }
}
