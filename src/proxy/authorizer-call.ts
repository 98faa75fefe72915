/** One request to an authorizer and its whole answer, within its time. */
import { AppError } from "../core/error.ts";
import type { HeaderList, RequestHead, ResponseHead, ResponseSink, UpstreamFailure, UpstreamRequest } from "./message.ts";
import type { Upstream } from "./upstream.ts";

export interface Answer {
  readonly status: number;
  readonly headers: HeaderList;
  readonly body: Buffer;
  readonly trailers: HeaderList;
}

/** An answer is a few headers and a page that says why. */
const MAX_ANSWER_BYTES = 1 << 20;

class Call implements ResponseSink {
  readonly #head: RequestHead;
  readonly #body: Buffer;
  readonly #upstream: Upstream;
  readonly #settle: (answer: Answer | AppError) => void;
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #response: ResponseHead | undefined;
  #request: UpstreamRequest | undefined;
  #retried = false;
  #done = false;

  constructor(head: RequestHead, body: Buffer, upstream: Upstream, settle: (answer: Answer | AppError) => void) {
    this.#head = head;
    this.#body = body;
    this.#upstream = upstream;
    this.#settle = settle;
  }

  async start(fresh: boolean): Promise<void> {
    try {
      const connection = await this.#upstream.acquire(fresh);
      if (this.#done) {
        connection.release();
        return;
      }
      this.#request = connection.send(this.#head, this);
      if (this.#head.bodyLength === 0) return;
      this.#request.write(this.#body);
      this.#request.end([]);
    } catch (thrown) {
      this.#finish(AppError.from(thrown));
    }
  }

  cancel(error: AppError): void {
    if (this.#done) return;
    this.#request?.abort();
    this.#finish(error);
  }

  onHead(response: ResponseHead): void {
    this.#response = response;
    if (response.status === 101) this.cancel(new AppError("unavailable", "it answered with an upgrade"));
  }

  onUpgrade({ socket }: { readonly socket: { destroy(): void } }): void {
    socket.destroy();
  }

  onData(chunk: Buffer): boolean {
    this.#length += chunk.length;
    if (this.#length > MAX_ANSWER_BYTES) this.cancel(new AppError("resource-exhausted", "its answer is too long"));
    else this.#chunks.push(chunk);
    return true;
  }

  onEnd(trailers: HeaderList): void {
    const { status = 0, headers = [] } = this.#response ?? {};
    this.#finish({ status, headers, body: Buffer.concat(this.#chunks), trailers });
  }

  /** A check may be asked twice: it changes nothing. */
  onFailure({ reason, mayRetry }: UpstreamFailure): void {
    if (this.#done) return;
    if (!mayRetry || this.#retried || this.#response !== undefined) {
      this.#finish(new AppError("unavailable", reason));
      return;
    }
    this.#retried = true;
    void this.start(true);
  }

  onWritable(): void {}

  #finish(answer: Answer | AppError): void {
    if (this.#done) return;
    this.#done = true;
    this.#settle(answer);
  }
}

/** Asks. Rejects with `unavailable`, `permission-denied`, `resource-exhausted`, or `deadline-exceeded` after `timeoutMs`. */
export function call(upstream: Upstream, head: RequestHead, body: Buffer, timeoutMs: number): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const asking = new Call(head, body, upstream, (answer) => {
    clearTimeout(timer);
    if (answer instanceof AppError) reject(answer);
    else resolve(answer);
  });
  const timer = setTimeout(() => asking.cancel(new AppError("deadline-exceeded", `no answer within ${timeoutMs} ms`)), timeoutMs);
  void asking.start(false);
  return promise;
}
