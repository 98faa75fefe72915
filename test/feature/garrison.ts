/** The command line as its users run it: real processes, which never outlive their test. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

const LAUNCHER = join(import.meta.dirname, "..", "..", "bin", "garrison.mjs");
/** Of one command that ends by itself. */
const COMMAND_TIMEOUT_MS = 40_000;
const LINE_TIMEOUT_MS = 30_000;
/** After SIGTERM, before SIGKILL. */
const GRACE_MS = 10_000;

/** Whatever runs functions at its end: a test, or the `after` of a file. */
export interface Scope {
  after(clean: () => unknown): void;
}

export interface Result {
  /** The exit code, or the signal that ended it. */
  readonly exit: number | NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SpawnOptions {
  /** Over the test's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A program, with its arguments, that runs it, such as `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
}

function spawnGarrison(args: readonly string[], { env = {}, cwd, prefix = [] }: SpawnOptions): ChildProcess {
  const [program = process.execPath, ...rest] = [...prefix, process.execPath, LAUNCHER, ...args];
  return spawn(program, rest, {
    env: { ...process.env, NO_COLOR: "1", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    ...(cwd === undefined ? {} : { cwd }),
  });
}

/** Runs a command to its end. */
export async function garrison(args: readonly string[], options: SpawnOptions = {}): Promise<Result> {
  const child = spawnGarrison(args, options);
  const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
  let [stdout, stderr] = ["", ""];
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  clearTimeout(timer);
  return { exit: code ?? signal ?? "SIGKILL", stdout, stderr };
}

/** Runs a command whose output nobody reads: the pipe is closed before the command writes. */
export async function garrisonUnread(args: readonly string[]): Promise<Omit<Result, "stdout">> {
  const child = spawnGarrison(args, {});
  child.stdout?.destroy();
  const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
  let stderr = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
  clearTimeout(timer);
  return { exit: code ?? signal ?? "SIGKILL", stderr };
}

/** A command that stays: `serve`, `run`, `up`, `audit --follow`. */
export class GarrisonProcess {
  readonly pid: number;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  #output = "";

  /** Starts it; it is ended with `scope`, asked first and killed if need be. */
  constructor(scope: Scope, args: readonly string[], options: SpawnOptions = {}) {
    const child = spawnGarrison(args, options);
    this.#child = child;
    this.pid = child.pid ?? 0;
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#output += text;
        this.#look();
      });
    }
    this.ended = once(child, "close").then(([code, signal]) => {
      setImmediate(() => this.#look());
      return code ?? signal;
    });
    const kill = (): void => void child.kill("SIGKILL");
    process.once("exit", kill);
    void this.ended.then(() => process.off("exit", kill));
    scope.after(() => this.stop());
  }

  /** All that it has written so far, on both streams. */
  get output(): string {
    return this.#output;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Where the output ends now, to look only at what comes after. */
  get mark(): number {
    return this.#output.length;
  }

  /** Resolves with the first line after `since` that matches; rejects with the whole output where none comes in time. */
  line(pattern: RegExp, since = 0): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const fail = (why: string): void => reject(new Error(`no line matches ${pattern}: ${why}\n${this.#output}`));
    const look = (): void => {
      const lines = this.#output.slice(since).split("\n");
      const complete = this.running ? lines.slice(0, -1) : lines;
      const found = complete.find((line) => pattern.test(line));
      if (found !== undefined) resolve(found);
      else if (!this.running) fail("the process has ended");
    };
    const timer = setTimeout(() => fail(`not within ${LINE_TIMEOUT_MS} ms`), LINE_TIMEOUT_MS);
    this.#waiting.add(look);
    look();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiting.delete(look);
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Gone at once, without a chance to clean up. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended;
  }

  /** Asks it to end and waits; the exit code. */
  async stop(): Promise<number | NodeJS.Signals> {
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), GRACE_MS);
    const exit = await this.ended;
    clearTimeout(timer);
    return exit;
  }

  #look(): void {
    for (const look of [...this.#waiting]) look();
  }
}
