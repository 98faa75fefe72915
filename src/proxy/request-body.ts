/** A request's body that is looked at before it goes on, whole: what was read stands before what is still to come. */
import { Readable } from "node:stream";
import { DENIED_BY_HEADER } from "../policy/denied-by.ts";
import { applyChange, type HeaderChange } from "./authorizer-verdict.ts";
import type { Downstream, Exchange } from "./exchange.ts";
import { valuesOf, withoutNames } from "./headers.ts";
import type { HeaderList, ResponseHead, Upgraded } from "./message.ts";
import type { Tunnel } from "./tunnel.ts";

/** The client's side with another body, and with a say in the head of the response. */
class Replayed implements Downstream {
  readonly body: Readable;
  readonly #inner: Downstream;
  readonly #changes: readonly HeaderChange[];

  constructor(inner: Downstream, body: Readable, changes: readonly HeaderChange[]) {
    this.#inner = inner;
    this.body = body;
    this.#changes = changes;
  }

  get closed(): boolean {
    return this.#inner.closed;
  }

  trailers(): HeaderList {
    return this.#inner.trailers();
  }

  last(): void {
    this.#inner.last();
  }

  attach(exchange: Exchange): void {
    this.#inner.attach(exchange);
  }

  upgrade(headers: HeaderList, upgraded: Upgraded): Tunnel {
    return this.#inner.upgrade(headers, upgraded);
  }

  head(response: ResponseHead): void {
    // Which rule denies is the proxy's to say, whatever an authorizer has added that let the request pass.
    const own = valuesOf(response.headers, DENIED_BY_HEADER);
    const headers = this.#changes.reduce(applyChange, response.headers);
    const told = own.flatMap((value) => [DENIED_BY_HEADER, value]);
    this.#inner.head({ ...response, headers: told.length === 0 ? headers : [...withoutNames(headers, [DENIED_BY_HEADER]), ...told] });
  }

  data(chunk: Buffer): boolean {
    return this.#inner.data(chunk);
  }

  end(trailers: HeaderList): void {
    this.#inner.end(trailers);
  }

  abort(): void {
    this.#inner.abort();
  }

  continue(): void {
    this.#inner.continue();
  }
}

export class RequestBody {
  readonly #downstream: Downstream;
  #iterator: AsyncIterator<Buffer> | undefined;
  #chunks: Buffer[] = [];
  #length = 0;
  #ended = false;

  constructor(downstream: Downstream) {
    this.#downstream = downstream;
  }

  /** Reads until there are `bytes` or the body ends. False: the client is gone. */
  async read(bytes: number): Promise<boolean> {
    this.#iterator ??= this.#downstream.body.iterator({ destroyOnReturn: false });
    try {
      while (!this.#ended && this.#length < bytes) {
        const next = await this.#iterator.next();
        if (next.done === true) this.#ended = true;
        else this.#keep(next.value);
      }
      return true;
    } catch {
      return false;
    }
  }

  get wasRead(): boolean {
    return this.#iterator !== undefined;
  }

  /** What has been read, and how much of it there is. */
  get bytes(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  get length(): number {
    return this.#length;
  }

  /** The client's side with all of the body before it, and with these changes of the response that it gets. */
  replay(changes: readonly HeaderChange[]): Downstream {
    if (this.#iterator === undefined)
      return changes.length === 0 ? this.#downstream : new Replayed(this.#downstream, this.#downstream.body, changes);
    return new Replayed(this.#downstream, Readable.from(this.#all(this.#iterator), { objectMode: false }), changes);
  }

  /** Leaves the rest of the body to whoever answers the request. */
  async release(): Promise<void> {
    await this.#iterator?.return?.();
  }

  async *#all(iterator: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
    if (this.#length > 0) yield this.bytes;
    while (!this.#ended) {
      const next = await iterator.next();
      if (next.done === true) return;
      yield next.value;
    }
  }

  #keep(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }
}
