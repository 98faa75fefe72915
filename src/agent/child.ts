/** A child process of the agent: it is told of its end in one value, and never outlives the agent. */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import type { Readable } from "node:stream";
import type { Logger } from "../core/logger.ts";
import { attachLifeline } from "./lifeline.ts";

/** How a process ended. */
export type Exit =
  | { readonly kind: "code"; readonly code: number }
  | { readonly kind: "signal"; readonly signal: NodeJS.Signals }
  | { readonly kind: "not-started"; readonly error: NodeJS.ErrnoException };

export interface ChildOptions {
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logger: Logger;
  /** `background`: a group of its own, which a terminal's Ctrl-C does not reach, and its output to `onLine`. `foreground`: the agent's own terminal. */
  readonly mode: { readonly kind: "background"; readonly onLine: (line: string) => void } | { readonly kind: "foreground" };
}

/** Longer lines are cut: nobody reads them, and a log has no end. */
const MAX_LINE = 8_192;

export class Child {
  readonly exited: Promise<Exit>;
  readonly #process: ChildProcess;
  readonly #group: boolean;

  constructor({ command, env, logger, mode }: ChildOptions) {
    const [program, ...args] = command;
    this.#group = mode.kind === "background";
    this.#process = spawn(program, args, {
      env,
      detached: this.#group,
      stdio: mode.kind === "background" ? "pipe" : "inherit",
    });
    if (mode.kind === "background") {
      // Its input stays open for as long as this process lives, for children that end with it.
      this.#process.stdin?.on("error", () => undefined);
      for (const stream of [this.#process.stdout, this.#process.stderr]) if (stream) splitLines(stream, mode.onLine);
    }
    const { pid } = this.#process;
    const untie = pid === undefined ? () => {} : attachLifeline({ pid, group: this.#group, signal: this.#group ? "KILL" : "TERM", logger });
    this.exited = new Promise((resolve) => {
      this.#process.once("error", (error) => {
        if (pid === undefined) resolve({ kind: "not-started", error });
      });
      this.#process.once("exit", (code, signal) => {
        untie();
        resolve(signal === null ? { kind: "code", code: code ?? 0 } : { kind: "signal", signal });
      });
    });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Does nothing once the process has ended: its number may belong to another. */
  signal(signal: NodeJS.Signals): void {
    const { pid, exitCode, signalCode } = this.#process;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    try {
      process.kill(this.#group ? -pid : pid, signal);
    } catch (error) {
      // It ended a moment ago, and its exit is about to be told.
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
    }
  }
}

/** In words, for a log. */
export function describeExit(exit: Exit): string {
  switch (exit.kind) {
    case "code":
      return `exit code ${exit.code}`;
    case "signal":
      return `signal ${exit.signal}`;
    case "not-started":
      return `not started: ${exit.error.message}`;
  }
}

/** As a shell tells it: 128 and the signal's number, 127 for a program that is not there, 126 for one that cannot run. */
export function exitStatus(exit: Exit): number {
  switch (exit.kind) {
    case "code":
      return exit.code;
    case "signal":
      return 128 + constants.signals[exit.signal];
    case "not-started":
      return exit.error.code === "ENOENT" ? 127 : 126;
  }
}

function splitLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = "";
  const tell = (line: string) => {
    if (line !== "") onLine(line.slice(0, MAX_LINE));
  };
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => {
    const lines = (rest + chunk).split("\n");
    rest = (lines.pop() ?? "").slice(0, MAX_LINE);
    for (const line of lines) tell(line);
  });
  stream.on("end", () => tell(rest));
  stream.on("error", () => undefined);
}
