/** When to try again after a stream to the agent or the control plane was lost. */

const FIRST_MS = 200;
const LONGEST_MS = 15_000;

/** Waits that double, each spread over its upper half so that a fleet does not return as one. */
export class Retry {
  readonly #action: () => void;
  #failures = 0;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(action: () => void) {
    this.#action = action;
  }

  /** The next failure is a first one again. */
  succeeded(): void {
    this.#failures = 0;
  }

  /** Runs the action after a wait, whose milliseconds are answered. */
  again(): number {
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(this.#failures++, 16));
    const delay = Math.round(longest * (0.5 + Math.random() / 2));
    if (!this.#stopped) this.#timer = setTimeout(this.#action, delay);
    return delay;
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}
