/**
 * No child outlives the agent, also when the agent itself is killed and can do nothing about it: a shell holds the
 * other end of a pipe and waits for its end, which the system brings about when the agent is gone. (Linux's parent
 * death signal would need a helper program as well, and exists nowhere else.)
 */
import { spawn } from "node:child_process";
import type { Logger } from "../core/logger.ts";

/** Signals that a terminal or a service manager sends to all must not end the watch before its time. */
const SCRIPT = 'trap "" HUP INT QUIT TERM; read -r nothing; kill -s "$1" -- "$2"';

export interface LifelineOptions {
  readonly pid: number;
  /** The whole process group of that number, or the process alone. */
  readonly group: boolean;
  readonly signal: "KILL" | "TERM";
  readonly logger: Logger;
}

/** Ties the life of a process to this one's. Returns what unties it, to be called as soon as the process has ended: its number may go to another. */
export function attachLifeline({ pid, group, signal, logger }: LifelineOptions): () => void {
  const target = group ? `-${pid}` : String(pid);
  // In a session of its own, so that what ends the agent's process group does not end the watch with it.
  const shell = spawn("/bin/sh", ["-c", SCRIPT, "garrison-lifeline", signal, target], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  shell.on("error", (error) => {
    logger.log("warn", "without /bin/sh nothing ends the agent's children if the agent is killed", { error: error.message });
  });
  shell.stdin?.on("error", () => undefined);
  shell.unref();
  return () => shell.kill("SIGKILL");
}
