/** Work that is asked for often and done seldom: what a replica writes to the API server. */
import { setTimeout as sleep } from "node:timers/promises";
import { Backoff } from "../../core/backoff.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";

export interface CoalescedOptions {
  /** For the log: what fails. */
  readonly what: string;
  /** Everything that is to be done by now; it is told when to end early. */
  readonly work: (signal: AbortSignal) => Promise<void>;
  readonly logger: Logger;
  /** Milliseconds between two runs. */
  readonly intervalMs: number;
  /** Milliseconds from being asked to a run: what changes meanwhile is in it. */
  readonly settleMs?: number;
  /** After a failure, doubling up to the second. */
  readonly retryMs?: { readonly first: number; readonly last: number };
}

/** Runs the work soon after it is asked for, never twice at once, and again after a failure, later and later. */
export class Coalesced {
  readonly #options: CoalescedOptions;
  readonly #abort = new AbortController();
  readonly #backoff: Backoff;
  readonly #done: Promise<void>;
  #asked = Promise.withResolvers<void>();
  #problem: string | undefined;

  constructor(options: CoalescedOptions) {
    this.#options = options;
    const { first, last } = options.retryMs ?? { first: 500, last: 30_000 };
    this.#backoff = new Backoff({ firstMs: first, maxMs: last, random: Math.random });
    this.#done = this.#run();
  }

  /** Why the work failed, as long as it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  ask(): void {
    this.#asked.resolve();
  }

  /** Nothing runs once it resolves. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#asked.resolve();
    await this.#done;
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    for (;;) {
      await this.#asked.promise;
      await this.#pause(this.#options.settleMs ?? 0);
      if (signal.aborted) return;
      this.#asked = Promise.withResolvers<void>();
      await this.#pause(await this.#attempt());
    }
  }

  async #pause(ms: number): Promise<void> {
    if (ms > 0) await sleep(ms, undefined, { signal: this.#abort.signal }).catch(() => undefined);
  }

  /** How long to wait then. */
  async #attempt(): Promise<number> {
    const { what, work, logger, intervalMs } = this.#options;
    try {
      await work(this.#abort.signal);
      if (this.#problem !== undefined) logger.log("info", `${what} again`);
      this.#problem = undefined;
      this.#backoff.reset();
      return intervalMs;
    } catch (thrown) {
      if (this.#abort.signal.aborted) return 0;
      const reason = AppError.from(thrown).message;
      logger.log(this.#problem === undefined ? "warn" : "debug", `${what} failed, and is tried again`, { reason });
      this.#problem = reason;
      this.ask();
      return this.#backoff.next();
    }
  }
}
