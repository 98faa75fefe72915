/** Where the workload's application listens. Nothing leads there without a permit. */
import { connect, type Socket } from "node:net";
import { AppError } from "../core/error.ts";
import type { Endpoint, Protocol } from "../policy/model.ts";
import { formatEndpoint } from "./acceptor.ts";
import { connected } from "./dial.ts";
import { Http1Pool } from "./http1-pool.ts";
import { Http2Pool } from "./http2-pool.ts";
import type { Limits } from "./limits.ts";
import type { Permit } from "./permit.ts";
import type { Upstream } from "./upstream.ts";

export class LocalEndpoint {
  readonly endpoint: Endpoint;
  readonly #limits: Limits;
  readonly #http: Upstream;

  constructor(endpoint: Endpoint, protocol: Protocol, limits: Limits) {
    this.endpoint = endpoint;
    this.#limits = limits;
    const dial = () => this.#dial(false);
    this.#http = protocol === "http2" ? new Http2Pool(dial, "http", limits) : new Http1Pool(dial, limits);
  }

  /** For the request that the permit was granted to. */
  http(_permit: Permit): Upstream {
    return this.#http;
  }

  /** A connection for the one that the permit was granted to. Rejects with `unavailable`. */
  tcp(_permit: Permit): Promise<Socket> {
    return this.#dial(true);
  }

  /** Requests and connections in flight may end. */
  close(): void {
    this.#http.close();
  }

  #dial(allowHalfOpen: boolean): Promise<Socket> {
    const { endpoint } = this;
    const target = endpoint.kind === "unix" ? { path: endpoint.path } : { host: endpoint.host, port: endpoint.port, noDelay: true };
    const socket = connect({ ...target, allowHalfOpen });
    return connected(socket, "connect", this.#limits.connectMs).catch((error: unknown) => {
      throw new AppError("unavailable", `connection to ${formatEndpoint(endpoint)} failed`, { cause: error });
    });
  }
}
