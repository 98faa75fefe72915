/** Ending well: a command waits here, and closes what it opened when asked to end. */

/** Set for processes that another of ours started: they end when its end of their standard input closes, however it died. */
export const EXIT_WITH_PARENT = "GARRISON_EXIT_WITH_PARENT";

/** Calls `end` when the process of ours that started this one is gone; never where none did. */
export function onParentEnd(end: () => void): void {
  if (process.env[EXIT_WITH_PARENT] !== "1") return;
  process.stdin.once("close", end);
  process.stdin.resume();
  // It is a pipe here. Waiting for its end is no reason to live on.
  if ("unref" in process.stdin) process.stdin.unref();
}

/** Resolves with what asked the process to end: a signal, or the end of the process that started it. */
export function endRequest(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve(signal));
    onParentEnd(() => resolve("parent ended"));
  });
}
