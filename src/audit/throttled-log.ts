/** Log lines that a flood of one failure must not turn into a flood of lines. */
import type { Clock } from "../core/clock.ts";
import type { LogFields, Logger, LogLevel } from "../core/logger.ts";
import { steady } from "../core/steady.ts";

const INTERVAL_MS = 10_000;

/** At most one line in ten seconds; the next one says how many were left out (`suppressed`). */
export class ThrottledLog {
  readonly #logger: Logger;
  readonly #clock: Clock;
  #next = Number.NEGATIVE_INFINITY;
  #suppressed = 0;

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = steady(clock);
  }

  log(level: LogLevel, message: string, fields: LogFields = {}): void {
    const now = this.#clock.now();
    if (now < this.#next) {
      this.#suppressed++;
      return;
    }
    this.#logger.log(level, message, this.#suppressed === 0 ? fields : { ...fields, suppressed: this.#suppressed });
    this.#next = now + INTERVAL_MS;
    this.#suppressed = 0;
  }
}
