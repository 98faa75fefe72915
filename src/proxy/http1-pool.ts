/** HTTP/1.1 connections to one endpoint, kept between requests. */
import type { Socket } from "node:net";
import { AppError } from "../core/error.ts";
import { type ConnectionOwner, Http1Connection } from "./http1-connection.ts";
import type { Limits } from "./limits.ts";
import type { Upstream } from "./upstream.ts";

export class Http1Pool implements Upstream, ConnectionOwner {
  readonly #dial: () => Promise<Socket>;
  readonly #limits: Limits;
  /** The one used last comes first, so that the others grow old and go. */
  readonly #idle: Http1Connection[] = [];
  readonly #all = new Set<Http1Connection>();
  #dialing = 0;
  #closed = false;
  #sweep: NodeJS.Timeout | undefined;

  constructor(dial: () => Promise<Socket>, limits: Limits) {
    this.#dial = dial;
    this.#limits = limits;
  }

  acquire(fresh: boolean): Http1Connection | Promise<Http1Connection> {
    if (fresh) this.#closeIdle(Number.POSITIVE_INFINITY);
    for (let connection = this.#idle.pop(); connection !== undefined; connection = this.#idle.pop()) {
      if (connection.idleUntil > performance.now()) return connection;
      connection.close();
    }
    return this.#open();
  }

  /** Connections in use end with their requests. */
  close(): void {
    this.#closed = true;
    clearInterval(this.#sweep);
    this.#closeIdle(Number.POSITIVE_INFINITY);
  }

  onIdle(connection: Http1Connection, idleMs: number | undefined): void {
    connection.idleUntil = performance.now() + Math.min(idleMs ?? this.#limits.pooledMs, this.#limits.pooledMs);
    if (this.#closed) connection.close();
    else this.#idle.push(connection);
  }

  onClosed(connection: Http1Connection): void {
    this.#all.delete(connection);
    const index = this.#idle.indexOf(connection);
    if (index >= 0) this.#idle.splice(index, 1);
    if (this.#all.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  async #open(): Promise<Http1Connection> {
    if (this.#all.size + this.#dialing >= this.#limits.upstreamConnections)
      throw new AppError("resource-exhausted", `${this.#limits.upstreamConnections} connections to the endpoint are open`);
    this.#dialing += 1;
    try {
      const connection = new Http1Connection(await this.#dial(), this, this.#limits.headBytes);
      this.#all.add(connection);
      this.#sweep ??= setInterval(() => this.#closeIdle(performance.now()), this.#limits.pooledMs / 2).unref();
      return connection;
    } finally {
      this.#dialing -= 1;
    }
  }

  #closeIdle(before: number): void {
    for (const connection of this.#idle.splice(0)) {
      if (connection.idleUntil <= before) connection.close();
      else this.#idle.push(connection);
    }
  }
}
