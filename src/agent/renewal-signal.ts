/** Telling a program that its certificate has changed, for those that read files once: a signal, as they take one to read them again. */
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";

export interface RenewalSignal {
  readonly signal: NodeJS.Signals;
  /** Whose process it is; the workload's command without. Read at each renewal. */
  readonly pidFile?: string;
}

/** `HUP` or `SIGHUP`. Throws `invalid-argument` for what is no signal, or one that no program can take as a hint. */
export function parseSignal(text: string): NodeJS.Signals {
  const name = text.startsWith("SIG") ? text : `SIG${text}`;
  const usable = Object.hasOwn(constants.signals, name) && name !== "SIGKILL" && name !== "SIGSTOP";
  if (usable) return name as NodeJS.Signals;
  throw new AppError("invalid-argument", `\`${text}\` is not a signal that a program can take`, { help: "such as SIGHUP or SIGUSR1" });
}

function pidOf(file: string): number {
  const text = readFileSync(file, "utf8").trim();
  // 0 and negative numbers are whole groups of processes, 1 is the system's own.
  if (/^\d{1,10}$/.test(text) && Number(text) > 1) return Number(text);
  throw new AppError("invalid-argument", `\`${file}\` does not hold the number of a process`);
}

/** Sends the signal to the process of the file, or by `toCommand`. Never throws: a program that is not there is told of in the log. */
export function sendRenewalSignal({ signal, pidFile }: RenewalSignal, toCommand: (signal: NodeJS.Signals) => void, logger: Logger): void {
  try {
    if (pidFile === undefined) toCommand(signal);
    else process.kill(pidOf(pidFile), signal);
  } catch (thrown) {
    logger.log("warn", "nobody could be told of the new certificate", { signal, pidFile, error: AppError.from(thrown).message });
  }
}
