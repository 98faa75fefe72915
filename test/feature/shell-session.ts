/** One bash session that takes commands block by block, as a reader types them; nothing of it outlives its scope. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { isAlive, until } from "../fakes/processes.ts";
import type { Scope } from "./garrison.ts";

export interface Printed {
  readonly exit: number;
  /** Both streams, in the order in which they were written. */
  readonly output: string;
}

const END = "\u001e";
const STEP_TIMEOUT_MS = 60_000;
const GRACE_MS = 10_000;

/** The working folder of a process; undefined where the system does not tell, or the process has ended. */
function folderOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}

/** Processes that work in a folder or below it; none where the system does not tell. */
function processesIn(folder: string): readonly number[] {
  if (process.platform !== "linux") return [];
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).filter((pid) => folderOf(pid)?.startsWith(`${folder}/`) === true);
}

export class ShellSession {
  readonly #bash: ChildProcess;
  readonly #folder: string;
  #output = "";
  #look: () => void = () => undefined;

  /** `folder` is where it works and where its temporary files go; every process that works there ends with the session. */
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
      await this.end();
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

  /** Processes of the session that are still there, except bash itself. */
  leftovers(): readonly number[] {
    return processesIn(this.#folder).filter((pid) => pid !== this.#bash.pid);
  }

  /** Asks everything to end, and ends surely what has not. */
  async end(): Promise<void> {
    this.#kill("SIGTERM");
    await until("the session's processes end", () => this.leftovers().length === 0, GRACE_MS).catch(() => undefined);
    this.#kill("SIGKILL");
    const { pid } = this.#bash;
    await until("what was killed is gone", () => this.leftovers().length === 0 && (pid === undefined || !isAlive(pid)));
  }

  /** Background processes of bash are in its group; what has left it still works in the folder. */
  #kill(signal: NodeJS.Signals): void {
    const { pid } = this.#bash;
    for (const target of [...(pid === undefined ? [] : [-pid]), ...this.leftovers()]) {
      try {
        process.kill(target, signal);
      } catch {
        // It has ended meanwhile.
      }
    }
  }
}
