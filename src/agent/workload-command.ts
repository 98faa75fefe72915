/** The user's command beside its proxy (`garrison run -- CMD`): it has the terminal, gets the agent's signals, and its end is the agent's. */
import { isatty } from "node:tty";
import type { Logger } from "../core/logger.ts";
import { Child, describeExit, exitStatus } from "./child.ts";
import type { Timers } from "./timers.ts";

export interface WorkloadCommandOptions {
  readonly command: readonly [string, ...string[]];
  /** Added to the agent's own environment, and wins over it. */
  readonly env: Readonly<Record<string, string>>;
  readonly timers: Timers;
  readonly logger: Logger;
}

/** After SIGTERM, before SIGKILL, when the agent stops by itself. */
const TERMINATION_MS = 10_000;

export class WorkloadCommand {
  /** The command's exit status, as a shell tells it. */
  readonly ended: Promise<number>;
  readonly #child: Child;
  readonly #options: WorkloadCommandOptions;

  constructor(options: WorkloadCommandOptions) {
    const { command, env, logger } = options;
    this.#options = options;
    this.#child = new Child({ command, env: { ...process.env, ...env }, logger, mode: { kind: "foreground" } });
    // The arguments stay out of the log: programs are given secrets there.
    logger.log("info", "command started", { program: command[0], pid: this.#child.pid });
    this.ended = this.#child.exited.then((exit) => {
      logger.log(exit.kind === "not-started" ? "error" : "info", "command ended", { program: command[0], exit: describeExit(exit) });
      return exitStatus(exit);
    });
  }

  /** Hands a signal on. What Ctrl-C and Ctrl-\ send has reached the command already where the two share a terminal. */
  forward(signal: NodeJS.Signals): void {
    const fromTerminal = (signal === "SIGINT" || signal === "SIGQUIT") && [0, 1, 2].some((stream) => isatty(stream));
    if (!fromTerminal) this.#child.signal(signal);
  }

  /** Ends the command: asked first, killed if it does not listen. */
  async stop(): Promise<void> {
    const { timers, logger, command } = this.#options;
    this.#child.signal("SIGTERM");
    const cancel = timers.after(TERMINATION_MS, () => {
      logger.log("warn", "the command did not end when asked and is killed", { program: command[0] });
      this.#child.signal("SIGKILL");
    });
    await this.ended;
    cancel();
  }
}
