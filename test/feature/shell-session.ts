/** One bash session that takes commands block by block, as a reader types them; nothing of it outlives its scope. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { commandLines, isAlive, until } from "../fakes/processes.ts";
import type { Scope } from "./garrison.ts";

export interface Printed {
  readonly exit: number;
  /** Both streams, in the order in which they were written. */
  readonly output: string;
}

const END = "\u001e";
const STEP_TIMEOUT_MS = 45_000;

export class ShellSession {
  readonly #bash: ChildProcess;
  readonly #folder: string;
  #output = "";
  #look: () => void = () => undefined;

  /** `folder` is the one that its temporary files go to; every process that names it on its command line ends with the session. */
  constructor(scope: Scope, options: { readonly cwd: string; readonly folder: string; readonly env: NodeJS.ProcessEnv }) {
    this.#folder = options.folder;
    this.#bash = spawn("bash", ["--noprofile", "--norc"], {
      cwd: options.cwd,
      env: { ...options.env, TMPDIR: options.folder },
      stdio: ["pipe", "pipe", "ignore"],
      // A group of its own, so that background processes can be ended with it.
      detached: true,
    });
    this.#bash.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#output += text;
      this.#look();
    });
    this.#bash.once("exit", () => this.#look());
    this.#bash.stdin?.on("error", () => undefined).write("exec 2>&1\n");
    const kill = () => this.#kill("SIGKILL");
    process.once("exit", kill);
    scope.after(async () => {
      await this.#end();
      process.off("exit", kill);
    });
  }

  /** Runs commands; with `strict` the session ends at the first that fails. Rejects when it ends or takes longer than `timeoutMs`. */
  async run(commands: string, strict: boolean, timeoutMs = STEP_TIMEOUT_MS): Promise<Printed> {
    const start = this.#output.length;
    // Without input of their own, or they would read the next commands.
    this.#bash.stdin?.write(`set ${strict ? "-e" : "+e"}\n{\n${commands}\n} </dev/null\nprintf '\\036%s\\036' "$?"\n`);
    const { promise, resolve, reject } = Promise.withResolvers<Printed>();
    this.#look = () => {
      const printed = this.#output.slice(start);
      const [output = "", exit, ended] = printed.split(END);
      if (ended !== undefined) resolve({ exit: Number(exit), output });
      else if (this.#bash.exitCode !== null) reject(new Error(`the session ended with ${this.#bash.exitCode}:\n${printed}`));
    };
    const timer = setTimeout(() => reject(new Error(`not done within ${timeoutMs} ms:\n${this.#output.slice(start)}`)), timeoutMs);
    this.#look();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#look = () => undefined;
    });
  }

  /** Processes of the session that are still there, by their command lines. */
  leftovers(): readonly string[] {
    return commandLines().filter((line) => line.includes(this.#folder));
  }

  #kill(signal: NodeJS.Signals): void {
    const { pid } = this.#bash;
    if (pid === undefined) return;
    try {
      process.kill(-pid, signal);
    } catch {
      // They have all ended.
    }
  }

  /** Asks everything to end, so that agents end their proxies, and ends surely what has not. */
  async #end(): Promise<void> {
    this.#kill("SIGTERM");
    const { pid, exitCode, signalCode } = this.#bash;
    if (exitCode === null && signalCode === null) {
      await Promise.race([once(this.#bash, "exit"), delay(1_000, undefined, { ref: false })]);
    }
    await until("the session's processes end", () => this.leftovers().length === 0, 10_000).catch(() => undefined);
    this.#kill("SIGKILL");
    if (pid !== undefined) await until("bash ends", () => !isAlive(pid), 5_000);
  }
}
