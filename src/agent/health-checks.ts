/** Whether the application is well: asked again and again, told when enough answers in a row say otherwise than before (Istio `ReadinessProbe`). */
import type { ProbeResult } from "./probe-application.ts";
import type { HealthCheck, MemberProbe, ReportedHealth } from "./registration-messages.ts";
import { type Timers, wait } from "./timers.ts";

export interface HealthChecksOptions {
  /** Asks once. Never rejects. */
  readonly ask: (probe: MemberProbe) => Promise<ProbeResult>;
  readonly timers: Timers;
  /** Told of each change. */
  readonly onChange: (health: ReportedHealth) => void;
}

export class HealthChecks {
  readonly #options: HealthChecksOptions;
  #check: HealthCheck | undefined;
  #running = new AbortController();
  #health: ReportedHealth | undefined;

  constructor(options: HealthChecksOptions) {
    this.#options = options;
  }

  /** What is known; undefined before enough answers, and where nothing is asked. */
  get health(): ReportedHealth | undefined {
    return this.#health;
  }

  /** Asks by this check from now on; what was known by the same one stays. */
  use(check: HealthCheck | undefined): void {
    if (JSON.stringify(check) === JSON.stringify(this.#check)) return;
    this.stop();
    this.#check = check;
    this.#health = undefined;
    this.#running = new AbortController();
    if (check !== undefined) void this.#run(check, this.#running.signal);
  }

  stop(): void {
    this.#running.abort();
    this.#check = undefined;
  }

  async #run(check: HealthCheck, signal: AbortSignal): Promise<void> {
    const { ask, timers } = this.#options;
    let [successes, failures] = [0, 0];
    await wait(timers, check.initialDelaySeconds * 1000, signal);
    while (!signal.aborted) {
      const { status, detail } = await ask(check.ask);
      if (signal.aborted) return;
      const well = status >= 200 && status < 400;
      [successes, failures] = well ? [successes + 1, 0] : [0, failures + 1];
      if (well && successes >= check.successThreshold) this.#is({ healthy: true, detail: "" });
      if (!well && failures >= check.failureThreshold) this.#is({ healthy: false, detail });
      await wait(timers, check.periodSeconds * 1000, signal);
    }
  }

  /** Why it is not well may change; that is not worth a word. */
  #is(health: ReportedHealth): void {
    if (this.#health?.healthy === health.healthy) return;
    this.#health = health;
    this.#options.onChange(health);
  }
}
