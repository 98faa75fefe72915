/** A clock and its timers, turned by hand. */
import type { Timers } from "../../src/agent/timers.ts";
import type { Clock } from "../../src/core/clock.ts";

interface Pending {
  readonly time: number;
  readonly action: () => void;
}

export class ManualClock implements Clock, Timers {
  #now: number;
  readonly #pending = new Set<Pending>();

  constructor(now: number) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, action: () => void): () => void {
    const pending = { time: this.#now + milliseconds, action };
    this.#pending.add(pending);
    return () => this.#pending.delete(pending);
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#pending.size;
  }

  /** Lets time pass, running what becomes due in its order, and what that sets off. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      await settled();
      const next = [...this.#pending].sort((a, b) => a.time - b.time).at(0);
      if (next === undefined || next.time > end) break;
      this.#pending.delete(next);
      this.#now = Math.max(this.#now, next.time);
      next.action();
    }
    this.#now = end;
  }

  /** The clock is put to another time (a laptop that slept): no timer learns of it. */
  jump(milliseconds: number): void {
    this.#now += milliseconds;
  }
}

/** After every promise that is already resolved has been acted on. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
