/** What comes at any of several replicas, as it comes: those that begin later too, and each line once, however often a replica is lost in between. */
import { setTimeout as delay } from "node:timers/promises";

export interface FollowedLine {
  /** The number of its record, which grows. */
  readonly id: number;
  readonly line: string;
}

export interface FollowedReplicas {
  /** The names of those that live now. */
  readonly names: () => readonly string[];
  /** Lines of one as they come: after the record with a number, else those from the beginning on. Throws where it is lost. */
  readonly linesOf: (name: string, after: number | undefined, signal: AbortSignal) => AsyncIterable<FollowedLine>;
  /** What is told of one that is lost, once until it is back. */
  readonly lost: (name: string, thrown: unknown) => string;
  /** Between two looks at those that live, and two attempts; milliseconds. */
  readonly lookMs: number;
}

/** A line of one of them, or what is told in the place of lines. */
export interface Followed {
  readonly kind: "line" | "told";
  readonly text: string;
}

interface Waiting {
  readonly what: Followed;
  readonly taken: () => void;
}

/** From several to one: each waits until what it has is taken. */
class Handover {
  readonly #waiting: Waiting[] = [];
  #wake: () => void = () => undefined;

  put(what: Followed): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ what, taken: resolve });
    this.#wake();
    return promise;
  }

  async *taken(signal: AbortSignal): AsyncGenerator<Followed, void, undefined> {
    signal.addEventListener("abort", () => this.#wake());
    while (!signal.aborted) {
      const next = this.#waiting.shift();
      if (next === undefined) await new Promise<void>((resolve) => (this.#wake = resolve));
      else {
        next.taken();
        yield next.what;
      }
    }
  }
}

/** Follows one as long as it lives. */
async function followOne(name: string, replicas: FollowedReplicas, handover: Handover, signal: AbortSignal): Promise<void> {
  let last: number | undefined;
  let isLost = false;
  while (!signal.aborted && replicas.names().includes(name)) {
    try {
      for await (const { id, line } of replicas.linesOf(name, last, signal)) {
        [last, isLost] = [id, false];
        await handover.put({ kind: "line", text: line });
      }
    } catch (thrown) {
      if (!isLost) await handover.put({ kind: "told", text: replicas.lost(name, thrown) });
      isLost = true;
    }
    // The end of the signal is looked at above.
    await delay(replicas.lookMs, undefined, { signal }).catch(() => undefined);
  }
}

/** Ends with the signal. Lines of one replica come in their order. */
export async function* followAll(replicas: FollowedReplicas, signal: AbortSignal): AsyncGenerator<Followed, void, undefined> {
  const left = new AbortController();
  const until = AbortSignal.any([signal, left.signal]);
  const handover = new Handover();
  const followed = new Set<string>();
  const look = () => {
    for (const name of replicas.names()) {
      if (followed.has(name)) continue;
      followed.add(name);
      void followOne(name, replicas, handover, until).then(() => followed.delete(name));
    }
  };
  look();
  const looking = setInterval(look, replicas.lookMs);
  // Whoever reads may never ask again.
  until.addEventListener("abort", () => clearInterval(looking), { once: true });
  try {
    yield* handover.taken(until);
  } finally {
    clearInterval(looking);
    left.abort();
  }
}
