/**
 * What an API server refused for a reason of the object's own: it is left alone for a while, longer each time, or until it is another version. So it holds up
 * nobody else's.
 */
import { performance } from "node:perf_hooks";
import { Backoff } from "../../core/backoff.ts";
import type { ApiAnswer } from "./api.ts";

const TIMES = { firstMs: 2_000, maxMs: 60_000, random: Math.random } as const;
/** As many are remembered at a time; then all may be tried anew. */
const MAX_KEYS = 10_000;

interface Pause {
  readonly version: string;
  readonly backoff: Backoff;
  readonly until: number;
}

/** Whether the trouble is the server's, and so everybody's: then nothing else need be tried either. */
export function isServersTrouble({ status }: Pick<ApiAnswer, "status">): boolean {
  return status === 401 || status === 429 || status >= 500;
}

export class Pauses {
  readonly #now: () => number;
  readonly #pauses = new Map<string, Pause>();

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** How many were refused when they were tried last. */
  get size(): number {
    return this.#pauses.size;
  }

  isPaused(key: string, version = ""): boolean {
    const pause = this.#pauses.get(key);
    return pause !== undefined && pause.version === version && this.#now() < pause.until;
  }

  refuse(key: string, version = ""): void {
    const before = this.#pauses.get(key);
    const backoff = before?.version === version ? before.backoff : new Backoff(TIMES);
    if (before === undefined && this.#pauses.size >= MAX_KEYS) this.#pauses.clear();
    this.#pauses.set(key, { version, backoff, until: this.#now() + backoff.next() });
  }

  /** It was taken, or is no more. */
  forget(key: string): void {
    this.#pauses.delete(key);
  }
}
