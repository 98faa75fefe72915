/** Keeps the workload's proxy running: starts it, knows when it is ready, restarts it when it dies, and ends it surely. */

import { Backoff } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { Child, describeExit } from "./child.ts";
import { printable } from "./printable.ts";
import { isReady, type ProxyProgram } from "./proxy-program.ts";
import { type Timers, wait } from "./timers.ts";

export type ProxyState =
  | { readonly kind: "stopped" }
  | { readonly kind: "starting"; readonly pid: number | undefined }
  | { readonly kind: "ready"; readonly pid: number | undefined; readonly since: number }
  | { readonly kind: "restarting"; readonly at: number; readonly lastExit: string }
  | { readonly kind: "stopping"; readonly pid: number | undefined };

export interface ProxySupervisorOptions {
  readonly program: ProxyProgram;
  readonly clock: Clock;
  readonly timers: Timers;
  /** In [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
  /** How long open work may take to finish before the proxy is terminated. */
  readonly drainMs: number;
  /** After SIGTERM, before SIGKILL; 5 s without. */
  readonly terminationMs?: number;
}

const READINESS_POLL_MS = 50;
/** A proxy that is not ready by then is told of, again and again. */
const SLOW_START_MS = 30_000;
const TERMINATION_MS = 5_000;
const FIRST_RESTART_MS = 100;
const LONGEST_RESTART_MS = 30_000;
/** A proxy that lived this long did not die of its start, so the next restart is a quick one again. */
const STEADY_MS = 10_000;

export class ProxySupervisor {
  readonly #options: ProxySupervisorOptions;
  readonly #backoff: Backoff;
  readonly #stopping = new AbortController();
  readonly #firstReady = Promise.withResolvers<void>();
  #state: ProxyState = { kind: "stopped" };
  #restarts = 0;
  #child: Child | undefined;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: ProxySupervisorOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: FIRST_RESTART_MS, maxMs: LONGEST_RESTART_MS, random: options.random });
    this.#firstReady.promise.catch(() => undefined);
  }

  get state(): ProxyState {
    return this.#state;
  }

  get restarts(): number {
    return this.#restarts;
  }

  start(): void {
    this.#loop = this.#run();
  }

  /** Resolves when the proxy is ready for the first time; rejects with `unavailable` when it is stopped before. */
  whenReady(): Promise<void> {
    return this.#firstReady.promise;
  }

  /** Ends the proxy; with `drain` its open work may finish first. Afterwards no process of it is left. */
  async stop({ drain }: { readonly drain: boolean }): Promise<void> {
    const child = this.#child;
    this.#stopping.abort();
    this.#firstReady.reject(new AppError("unavailable", "the agent is stopping"));
    if (child !== undefined) {
      const wasReady = this.#state.kind === "ready";
      this.#state = { kind: "stopping", pid: child.pid };
      if (drain && wasReady) await this.#drain(child);
      if (wasReady) await this.#flush(child);
      await this.#terminate(child);
    }
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { program, logger, clock, timers } = this.#options;
    while (!this.#stopping.signal.aborted) {
      const started = clock.now();
      const exit = await this.#runOnce();
      if (this.#stopping.signal.aborted) break;
      if (clock.now() - started >= STEADY_MS) this.#backoff.reset();
      const delay = this.#backoff.next();
      this.#restarts += 1;
      this.#state = { kind: "restarting", at: clock.now() + delay, lastExit: exit };
      logger.log("error", "the proxy died and is restarted", {
        proxy: program.kind,
        exit,
        restarts: this.#restarts,
        restartInMs: Math.round(delay),
      });
      await wait(timers, delay, this.#stopping.signal);
    }
    this.#state = { kind: "stopped" };
    logger.log("info", "proxy stopped", { proxy: program.kind });
  }

  /** One life of the proxy; returns how it ended, in words. */
  async #runOnce(): Promise<string> {
    const { program, logger } = this.#options;
    const onLine = (line: string) => {
      const { level, text } = program.parseLine(line);
      logger.log(level, printable(text), { proxy: program.kind });
    };
    const child = new Child({ command: program.command, env: process.env, logger, mode: { kind: "background", onLine } });
    this.#child = child;
    this.#state = { kind: "starting", pid: child.pid };
    logger.log("info", "proxy started", { proxy: program.kind, pid: child.pid });
    const gone = new AbortController();
    const watch = this.#watchReadiness(child, gone.signal);
    const exit = await child.exited;
    this.#child = undefined;
    gone.abort();
    await watch;
    return describeExit(exit);
  }

  async #watchReadiness(child: Child, gone: AbortSignal): Promise<void> {
    const { program, clock, timers, logger } = this.#options;
    const started = clock.now();
    let told = started;
    while (!gone.aborted && !this.#stopping.signal.aborted) {
      const ready = await isReady(program);
      if (gone.aborted || this.#stopping.signal.aborted) return;
      if (ready) {
        this.#state = { kind: "ready", pid: child.pid, since: clock.now() };
        logger.log("info", "proxy ready", { proxy: program.kind, pid: child.pid, startMs: clock.now() - started });
        this.#firstReady.resolve();
        return;
      }
      if (clock.now() - told >= SLOW_START_MS) {
        told = clock.now();
        logger.log("warn", "the proxy is not ready yet: it waits for its configuration", {
          proxy: program.kind,
          seconds: Math.round((told - started) / 1_000),
        });
      }
      await wait(timers, READINESS_POLL_MS, gone);
    }
  }

  async #drain(child: Child): Promise<void> {
    const { program, timers, drainMs, logger } = this.#options;
    const over = new AbortController();
    const cancel = timers.after(drainMs, () => over.abort());
    child.exited.then(() => over.abort());
    try {
      await program.drain();
      while (!over.signal.aborted && !(await program.isIdle())) await wait(timers, READINESS_POLL_MS, over.signal);
    } catch (thrown) {
      logger.log("warn", "the proxy could not be drained", { proxy: program.kind, error: AppError.from(thrown).message });
    } finally {
      cancel();
    }
  }

  /** Lets it write down what it has recorded. */
  async #flush(child: Child): Promise<void> {
    const { program, timers } = this.#options;
    if (program.flushMs === 0) return;
    const over = new AbortController();
    child.exited.then(() => over.abort());
    await wait(timers, program.flushMs, over.signal);
  }

  async #terminate(child: Child): Promise<void> {
    child.signal("SIGTERM");
    const { timers, terminationMs = TERMINATION_MS } = this.#options;
    const cancel = timers.after(terminationMs, () => {
      this.#options.logger.log("warn", "the proxy did not end when asked and is killed", {
        proxy: this.#options.program.kind,
        pid: child.pid,
      });
      child.signal("SIGKILL");
    });
    await child.exited;
    cancel();
  }
}
