/** Spares another CA that does not answer: after some failures it is asked again only now and then. */
import type { Clock } from "../../core/clock.ts";
import { steady } from "../../core/steady.ts";

const FAILURES = 5;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

export class Breaker {
  readonly #clock: Clock;
  #failures = 0;
  #closedUntil = 0;
  #pauseMs = FIRST_PAUSE_MS;

  constructor(clock: Clock) {
    this.#clock = steady(clock);
  }

  /** Whether it may be asked now. While it does not answer, one request is let through after each pause. */
  admit(): boolean {
    if (this.#failures < FAILURES) return true;
    const now = this.#clock.now();
    if (now < this.#closedUntil) return false;
    this.#closedUntil = now + this.#pauseMs;
    return true;
  }

  succeeded(): void {
    this.#failures = 0;
    this.#pauseMs = FIRST_PAUSE_MS;
  }

  failed(): void {
    this.#failures += 1;
    if (this.#failures < FAILURES) return;
    this.#closedUntil = this.#clock.now() + this.#pauseMs;
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
  }
}
