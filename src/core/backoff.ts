/** Waits between attempts: they double from `firstMs` to `maxMs`, each shortened by up to a half so that a fleet does not come back in step. */
export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** In [0, 1). */
  readonly random: () => number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** The wait before the next attempt, in milliseconds. */
  next(): number {
    const { firstMs, maxMs, random } = this.#options;
    const full = Math.min(maxMs, firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return full * (1 - random() / 2);
  }

  reset(): void {
    this.#failures = 0;
  }
}
