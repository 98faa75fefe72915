/** How long to wait before the next attempt. */

export interface BackoffOptions {
  /** Milliseconds before the first retry, without jitter. */
  readonly baseMs: number;
  readonly maxMs: number;
  /** In [0, 1). */
  readonly random: () => number;
}

/** Exponential, and spread over the upper half of each delay, so that clients that lost one server do not return as one. */
export class Backoff {
  readonly #options: BackoffOptions;
  #attempts = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Milliseconds. */
  next(): number {
    const { baseMs, maxMs, random } = this.#options;
    const delay = Math.min(maxMs, baseMs * 2 ** this.#attempts);
    this.#attempts += 1;
    return delay * (0.5 + random() / 2);
  }

  reset(): void {
    this.#attempts = 0;
  }
}
