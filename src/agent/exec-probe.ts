/** A probe by a program of the machine: what it writes is nobody's to read, and it ends in time. */
import { spawn } from "node:child_process";
import type { ProbeResult } from "./probe-application.ts";

const FAILED = 503;

/** Runs it, never by a shell; its status 0 is a success. It and what it started are killed at the timeout. Never rejects. */
export function probeByProgram(command: readonly string[], timeoutSeconds: number): Promise<ProbeResult> {
  const [program = "", ...args] = command;
  return new Promise((resolve) => {
    // A group of its own: what the program starts ends with it.
    const child = spawn(program, args, { stdio: "ignore", detached: true });
    const kill = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended.
      }
    };
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      kill();
    }, timeoutSeconds * 1000);
    const end = (result: ProbeResult): void => {
      clearTimeout(timer);
      kill();
      resolve(result);
    };
    child.once("error", (error: NodeJS.ErrnoException) =>
      end({ status: FAILED, detail: `the probe's program cannot be run: ${error.code ?? "failed"}` }),
    );
    child.once("exit", (code, signal) => {
      if (late) end({ status: 504, detail: `the probe's program did not end within ${timeoutSeconds} s` });
      else if (code === 0) end({ status: 200, detail: "ok" });
      else end({ status: FAILED, detail: `the probe's program ended with ${code ?? signal}` });
    });
  });
}
