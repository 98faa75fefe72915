/** The thread that holds the token, as the authority speaks to it: with an end to every wait. */
import { Worker } from "node:worker_threads";
import { AppError } from "../../core/error.ts";
import { errorOf, type TokenRequest, type TokenResult } from "./messages.ts";
import type { KeyLocation } from "./uri.ts";

/** A token that takes longer for one signature is stuck. */
const TIMEOUT_MS = 10_000;
/** Signatures that may wait for the token. */
const MAX_WAITING = 256;

interface Waiting {
  readonly resolve: (result: TokenResult) => void;
  readonly reject: (error: AppError) => void;
  readonly timer: NodeJS.Timeout;
}

/** The sources run as they are, and so does what is built of them. */
const PROGRAM = new URL(import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js", import.meta.url);

export class TokenThread {
  readonly #location: KeyLocation;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #next = 0;
  /** Requests whose time was over while the thread was still at them. */
  #late = 0;
  #closed = false;

  constructor(location: KeyLocation, timeoutMs = TIMEOUT_MS) {
    this.#location = location;
    this.#timeoutMs = timeoutMs;
  }

  /** Rejects with what the token says, `unavailable` when it does not answer in time, `resource-exhausted` when too much waits for it. */
  async ask(request: TokenRequest): Promise<Exclude<TokenResult, { kind: "failed" }>> {
    if (this.#closed) throw new AppError("unavailable", "the CA is closed");
    if (this.#late > 0) throw this.#stuck();
    if (this.#waiting.size >= MAX_WAITING)
      throw new AppError("resource-exhausted", `${MAX_WAITING} signatures wait for the CA's token already`, { help: "ask again later" });
    const result = await this.#send(request);
    if (result.kind === "failed") throw errorOf(result.error);
    return result;
  }

  close(): void {
    this.#closed = true;
    this.#fail(new AppError("unavailable", "the CA is closed"));
    void this.#worker?.terminate();
  }

  #send(request: TokenRequest): Promise<TokenResult> {
    const worker = this.#running();
    const id = this.#next++;
    const { promise, resolve, reject } = Promise.withResolvers<TokenResult>();
    const timer = setTimeout(() => {
      this.#waiting.delete(id);
      this.#late += 1;
      reject(this.#stuck());
    }, this.#timeoutMs);
    this.#waiting.set(id, { resolve, reject, timer });
    worker.postMessage({ id, request });
    return promise;
  }

  #running(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const worker = new Worker(PROGRAM, { workerData: this.#location });
    worker.unref();
    worker.on("message", ({ id, result }: { readonly id: number; readonly result: TokenResult }) => this.#answered(id, result));
    worker.on("error", (cause) => this.#ended(new AppError("unavailable", "the thread of the CA's token has ended", { cause })));
    worker.on("exit", () => this.#ended(new AppError("unavailable", "the thread of the CA's token has ended")));
    this.#worker = worker;
    return worker;
  }

  #answered(id: number, result: TokenResult): void {
    const waiting = this.#waiting.get(id);
    // The answer to a request that nobody waits for: the thread works again.
    if (waiting === undefined) {
      this.#late = Math.max(0, this.#late - 1);
      return;
    }
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    waiting.resolve(result);
  }

  /** The next request starts another thread. */
  #ended(error: AppError): void {
    this.#worker = undefined;
    this.#late = 0;
    this.#fail(error);
  }

  #fail(error: AppError): void {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
  }

  #stuck(): AppError {
    return new AppError("unavailable", `the CA's token has not answered within ${this.#timeoutMs / 1000} s`, {
      where: this.#location.module,
      help: "see what its own tools say of it",
    });
  }
}
