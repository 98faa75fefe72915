/** Runs `agent-main.ts` as a child, in TypeScript or compiled, and keeps what it logs. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { AgentOptions } from "../../src/agent/agent-options.ts";
import { type LogLine, RecordingLogger } from "./recording-logger.ts";

export interface AgentProcessOptions {
  readonly options: Omit<AgentOptions, "logger">;
  /** Instead of the TypeScript source. */
  readonly main?: string;
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export class AgentProcess {
  readonly log = new RecordingLogger();
  readonly #child: ChildProcess;
  #output = "";

  constructor({ options, main = join(import.meta.dirname, "agent-main.ts"), flags = [], env = {} }: AgentProcessOptions) {
    this.#child = spawn(process.execPath, [...flags, main, JSON.stringify(options)], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    const { stdout, stderr } = this.#child;
    stdout?.on("data", (chunk) => {
      this.#output += String(chunk);
    });
    if (stderr === null) return;
    createInterface({ input: stderr }).on("line", (line) => {
      const { level, message, fields } = parseLine(line);
      this.log.log(level, message, fields);
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** What the command wrote to its standard output. */
  get output(): string {
    return this.#output;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** The exit code, or the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
    return this.#child.exitCode ?? this.#child.signalCode;
  }
}

/** A line that is not of the log, such as a stack trace, is kept as an error. */
function parseLine(line: string): LogLine {
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return { level: "error", message: line, fields: {} };
  }
}
