/** An API server that answers from a script: what was asked of it is remembered. */
import type { ApiAnswer, ApiMethod, KubernetesApi, WatchAnswer } from "../../src/sources/kubernetes/api.ts";

export type FakeAnswer = ApiAnswer | Error;

/** One watch that a test feeds. */
export class FakeWatch {
  readonly path: string;
  #waiting: (() => void) | undefined;
  #ended: Error | "end" | undefined;
  readonly #lines: string[] = [];

  constructor(path: string, signal: AbortSignal) {
    this.path = path;
    signal.addEventListener("abort", () => this.end());
  }

  send(...events: readonly unknown[]): void {
    this.#lines.push(...events.map((event) => (typeof event === "string" ? event : JSON.stringify(event))));
    this.#waiting?.();
  }

  /** As a server ends a watch when its time is over; with an error, as a connection breaks. */
  end(error?: Error): void {
    this.#ended ??= error ?? "end";
    this.#waiting?.();
  }

  async *lines(): AsyncGenerator<string> {
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) yield line;
      else if (this.#ended === "end") return;
      else if (this.#ended !== undefined) throw this.#ended;
      else {
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#waiting = resolve;
        await promise;
      }
    }
  }
}

export class FakeKubernetesApi implements KubernetesApi {
  /** Every path that was asked for, in order. */
  readonly asked: string[] = [];
  readonly bodies: unknown[] = [];
  readonly watches: FakeWatch[] = [];
  /** What a call is answered with, and with what status a watch begins. */
  answer: (path: string, method?: ApiMethod, body?: unknown) => FakeAnswer = () => ({ status: 404, body: undefined });
  watchStatus: (path: string) => number = () => 200;

  async call(method: ApiMethod, path: string, body?: unknown): Promise<ApiAnswer> {
    this.asked.push(path);
    this.bodies.push(body);
    const answer = this.answer(path, method, body);
    if (answer instanceof Error) throw answer;
    return answer;
  }

  async watch(path: string, signal: AbortSignal): Promise<WatchAnswer> {
    this.asked.push(path);
    const watch = new FakeWatch(path, signal);
    const status = this.watchStatus(path);
    if (status === 200) this.watches.push(watch);
    return { status, lines: watch.lines() };
  }
}
