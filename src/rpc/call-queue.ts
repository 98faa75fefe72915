/**
 * Admission of calls before anything costly is done for them: so many at a time, a bounded queue that every caller has an equal part in, and for
 * whoever does not fit a time to come back at which there is room.
 */
import { AppError } from "../core/error.ts";

export interface CallQueueOptions {
  /** Calls that are worked on at one time. */
  readonly concurrency: number;
  /** Calls that wait, of all callers together. */
  readonly capacity: number;
  /** Milliseconds that a call waits at most: a client that has given up is not worked for. */
  readonly maxWaitMs: number;
  /** Milliseconds; never goes back. */
  readonly now?: () => number;
}

export interface QueueStatus {
  readonly running: number;
  readonly waiting: number;
  /** Since the start. */
  readonly refused: number;
}

interface Waiting {
  readonly caller: string;
  readonly since: number;
  readonly start: () => void;
  readonly refuse: (error: AppError) => void;
}

const LEAST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;
/** Calls a second that are counted on before any have been measured. */
const FIRST_RATE = 1_000;
const WINDOW_MS = 100;
const LEAST_CALLS = 32;
/** Of callers that were told when to come back; more than can be told apart share one time. */
const MAX_TOLD = 10_000;

/** How fast calls are done with, measured while others wait: what idles says nothing of its speed. */
class Rate {
  #perSecond = FIRST_RATE;
  #count = 0;
  #since: number | undefined;

  get perSecond(): number {
    return this.#perSecond;
  }

  /** A call has ended. */
  count(now: number, othersWait: boolean): void {
    if (!othersWait) this.#since = undefined;
    else if (this.#since === undefined) [this.#since, this.#count] = [now, 0];
    else this.#measure(now, now - this.#since);
  }

  #measure(now: number, elapsed: number): void {
    this.#count += 1;
    if (elapsed < WINDOW_MS || this.#count < LEAST_CALLS) return;
    this.#perSecond = (this.#count * 1000) / elapsed;
    [this.#since, this.#count] = [now, 0];
  }
}

export class CallQueue {
  readonly #options: CallQueueOptions;
  readonly #now: () => number;
  /** Of each caller with calls that wait; in the order in which they are served next. */
  readonly #queues = new Map<string, Waiting[]>();
  readonly #rate = new Rate();
  /** When the last call that each caller was told to bring again is expected. */
  readonly #told = new Map<string, number>();
  #running = 0;
  #waiting = 0;
  #refused = 0;

  constructor(options: CallQueueOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  get status(): QueueStatus {
    return { running: this.#running, waiting: this.#waiting, refused: this.#refused };
  }

  /**
   * Works for `caller` when it is its turn; `isGone` tells then whether anybody still waits for the answer. Rejects as `work` does, or with
   * `resource-exhausted` and a time to come back.
   */
  async run<T>(caller: string, work: () => Promise<T>, isGone: () => boolean = () => false): Promise<T> {
    if (this.#running < this.#options.concurrency) this.#running += 1;
    else await this.#turn(caller);
    try {
      if (isGone()) throw new AppError("deadline-exceeded", "nobody waits for the answer any more");
      return await work();
    } finally {
      this.#rate.count(this.#now(), this.#waiting > 0);
      this.#running -= 1;
      this.#next();
    }
  }

  #turn(caller: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const queue = this.#queues.get(caller) ?? [];
      queue.push({ caller, since: this.#now(), start: resolve, refuse: reject });
      this.#queues.set(caller, queue);
      this.#waiting += 1;
      if (this.#waiting > this.#options.capacity) this.#refuse(this.#longest());
    });
  }

  /** The newest call of whoever has the most: a caller with few is never the one that has to go. */
  #longest(): Waiting | undefined {
    let longest: Waiting[] = [];
    for (const queue of this.#queues.values()) if (queue.length > longest.length) longest = queue;
    const last = longest.pop();
    if (last !== undefined && longest.length === 0) this.#queues.delete(last.caller);
    return last;
  }

  /** One of each caller in turn. */
  #next(): void {
    while (this.#running < this.#options.concurrency) {
      const [first] = this.#queues;
      if (first === undefined) return;
      const [caller, queue] = first;
      const waiting = queue.shift();
      this.#queues.delete(caller);
      if (queue.length > 0) this.#queues.set(caller, queue);
      if (waiting === undefined) continue;
      if (this.#now() - waiting.since > this.#options.maxWaitMs) {
        this.#refuse(waiting);
        continue;
      }
      this.#waiting -= 1;
      this.#running += 1;
      waiting.start();
    }
  }

  #refuse(waiting: Waiting | undefined): void {
    if (waiting === undefined) return;
    this.#waiting -= 1;
    this.#refused += 1;
    const retryAfterMs = Math.ceil(this.#comeBack(waiting.caller));
    waiting.refuse(new AppError("resource-exhausted", `the control plane is busy: come back in ${retryAfterMs} ms`, { retryAfterMs }));
  }

  /** Those who are sent away come back one after the other, as fast as calls are worked on, and not all at once. */
  #comeBack(caller: string): number {
    const now = this.#now();
    if (this.#told.size >= MAX_TOLD) for (const [each, time] of this.#told) if (time <= now) this.#told.delete(each);
    const key = this.#told.has(caller) || this.#told.size < MAX_TOLD ? caller : "";
    const share = this.#rate.perSecond / Math.max(1, this.#queues.size);
    const time = Math.min(Math.max(now + LEAST_WAIT_MS, (this.#told.get(key) ?? 0) + 1_000 / share), now + LONGEST_WAIT_MS);
    this.#told.set(key, time);
    return time - now;
  }
}
