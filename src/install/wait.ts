/** Waiting for what others do: asked once a second, until a time limit. */
import { setTimeout as delay } from "node:timers/promises";
import { AppError } from "../core/error.ts";

const EVERY_MS = 1_000;

/** What is missing yet, in words; undefined when all is there. */
export type Missing = string | undefined;

/** Resolves when nothing is missing. Throws `deadline-exceeded` with what was missing at last, when `signal` ends it. */
export async function until(what: string, missing: () => Promise<Missing>, signal: AbortSignal): Promise<void> {
  for (;;) {
    const still = await missing();
    if (still === undefined) return;
    try {
      signal.throwIfAborted();
      await delay(EVERY_MS, undefined, { signal });
    } catch {
      const help = "what is applied stays; run it again to go on";
      throw new AppError("deadline-exceeded", `the time is over before ${what}: ${still}`, { help });
    }
  }
}
