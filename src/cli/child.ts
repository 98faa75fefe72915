/** Processes of ours that a command starts: their lines are logged, and they end with it. */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import { fileURLToPath } from "node:url";
import { AppError } from "../core/error.ts";
import { EXIT_WITH_PARENT } from "./signals.ts";

const LAUNCHER = fileURLToPath(new URL("../../bin/garrison.mjs", import.meta.url));
const GRACE_MS = 5000;
const LAST_LINES = 20;

/** The command line that runs another command of this same CLI. */
export function garrisonCommand(...args: readonly string[]): readonly string[] {
  return [process.execPath, LAUNCHER, ...args];
}

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** Resolves when the process has ended, with its exit code or signal. */
  readonly ended: Promise<string>;
  /** Undefined while it runs. */
  readonly exit: () => string | undefined;
  /** The last lines that it printed. */
  readonly lastLines: () => readonly string[];
  /** Asks it to end, and ends it surely after a grace of 5 s. */
  stop(): Promise<void>;
}

export interface ChildOptions {
  readonly name: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly onLine?: (name: string, line: string) => void;
}

function watchLines(child: ChildProcess, options: ChildOptions, last: string[]): void {
  const log = createWriteStream(options.logFile, { mode: 0o600, flags: "a" });
  let rest = "";
  const take = (chunk: Buffer): void => {
    log.write(chunk);
    const lines = (rest + chunk.toString("utf8")).split("\n");
    rest = (lines.pop() ?? "").slice(-4096);
    for (const line of lines) {
      last.push(line);
      if (last.length > LAST_LINES) last.shift();
      options.onLine?.(options.name, line);
    }
  };
  child.stdout?.on("data", take);
  child.stderr?.on("data", take);
  child.once("close", () => log.end());
}

/** Starts a command of this CLI as a process of its own. */
export function startChild(options: ChildOptions): Child {
  const [program = "", ...args] = garrisonCommand(...options.args);
  const env = { ...process.env, ...options.env, [EXIT_WITH_PARENT]: "1" };
  const child = spawn(program, args, { env, stdio: ["pipe", "pipe", "pipe"] });
  const last: string[] = [];
  watchLines(child, options, last);
  let exit: string | undefined;
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => {
      exit = error.message;
      resolve(exit);
    });
    child.once("close", (code, signal) => {
      exit ??= signal ?? `exit code ${code}`;
      resolve(exit);
    });
  });
  const stop = async (): Promise<void> => {
    if (exit !== undefined) return;
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), GRACE_MS);
    await ended;
    clearTimeout(timer);
  };
  return { name: options.name, pid: child.pid ?? 0, ended, exit: () => exit, lastLines: () => last, stop };
}

/** Waits until `probe` no longer throws. Throws `unavailable` with the child's last lines where it ends first, `deadline-exceeded` after `timeoutMs`. */
export async function untilReady<T>(child: Child, timeoutMs: number, probe: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await probe();
    } catch (cause) {
      const exit = child.exit();
      if (exit !== undefined)
        throw new AppError("unavailable", `${child.name} ended before it was ready (${exit})\n${child.lastLines().join("\n")}`);
      if (Date.now() > deadline) {
        throw new AppError(
          "deadline-exceeded",
          `${child.name} was not ready within ${timeoutMs / 1000} s\n${child.lastLines().join("\n")}`,
          { cause },
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}
