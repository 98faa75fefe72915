/** A service as the application reaches it: the next endpoint that can be connected to and proves its identity. */
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { ServiceEndpoint, UpstreamService } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import { Balancer } from "./balancer.ts";
import type { Credentials } from "./credentials.ts";
import { dial, isNamingRefusal } from "./dial.ts";
import { Http1Pool } from "./http1-pool.ts";
import { Http2Pool } from "./http2-pool.ts";
import type { Limits } from "./limits.ts";
import type { UpstreamConnection } from "./message.ts";
import type { OpenServers } from "./open-servers.ts";
import { peerOf } from "./peer-certificate.ts";
import type { Resolver } from "./resolver.ts";
import { OriginationContext } from "./tls-origination.ts";
import type { Upstream } from "./upstream.ts";

export interface ServiceUpstreamOptions {
  readonly service: UpstreamService;
  readonly credentials: Credentials;
  readonly limits: Limits;
  readonly resolver: Resolver;
  readonly servers: OpenServers;
  /** A server that is not who it must be. */
  readonly onRefused: (service: UpstreamService, endpoint: ServiceEndpoint, error: AppError) => void;
}

export class ServiceUpstream implements Upstream {
  readonly #options: ServiceUpstreamOptions;
  readonly #balancer: Balancer;
  readonly #origination: OriginationContext | undefined;
  readonly #pools: ReadonlyMap<ServiceEndpoint, Upstream>;

  constructor(options: ServiceUpstreamOptions) {
    const { service, limits } = options;
    this.#options = options;
    this.#origination = service.tls && new OriginationContext(service.tls);
    this.#balancer = new Balancer(service.endpoints, limits.ejectionMs);
    this.#pools = new Map(service.endpoints.map((endpoint) => [endpoint, this.#pool(endpoint)]));
  }

  get service(): UpstreamService {
    return this.#options.service;
  }

  acquire(fresh: boolean): UpstreamConnection | Promise<UpstreamConnection> {
    const candidates = this.#balancer.candidates();
    const [first] = candidates;
    const pooled = first === undefined ? undefined : this.#pools.get(first)?.acquire(fresh);
    if (first === undefined || pooled === undefined) return Promise.reject(this.#nobody());
    return pooled instanceof Promise
      ? this.#firstOf(candidates, (endpoint) => (endpoint === first ? pooled : this.#fromPool(endpoint, fresh)))
      : pooled;
  }

  /** A connection for bytes. Rejects as `acquire` does. */
  connect(): Promise<Socket> {
    return this.#firstOf(this.#balancer.candidates(), (endpoint) => this.#dial(endpoint));
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
  }

  #nobody(): AppError {
    return new AppError("unavailable", `no endpoint serves ${this.#options.service.service}`);
  }

  async #dial(endpoint: ServiceEndpoint): Promise<Socket> {
    const { service, credentials, limits, resolver, servers } = this.#options;
    const socket = await dial({ service, endpoint, credentials, limits, resolver, origination: this.#origination, servers });
    if (endpoint.mtls && socket instanceof TLSSocket) servers.add(socket, peerOf(socket.getPeerCertificate().raw).digest);
    return socket;
  }

  #pool(endpoint: ServiceEndpoint): Upstream {
    const { service, limits } = this.#options;
    const open = () => this.#dial(endpoint);
    const scheme = endpoint.mtls || service.tls !== undefined ? "https" : "http";
    return service.protocol === "http2" ? new Http2Pool(open, scheme, limits) : new Http1Pool(open, limits);
  }

  #fromPool(endpoint: ServiceEndpoint, fresh: boolean): UpstreamConnection | Promise<UpstreamConnection> {
    return this.#pools.get(endpoint)?.acquire(fresh) ?? Promise.reject(this.#nobody());
  }

  /** Nothing of the request has been sent anywhere, so the next endpoint may always be tried. */
  async #firstOf<T>(candidates: readonly ServiceEndpoint[], open: (endpoint: ServiceEndpoint) => T | Promise<T>): Promise<T> {
    let last = this.#nobody();
    for (const endpoint of candidates) {
      try {
        const opened = await open(endpoint);
        this.#balancer.succeeded(endpoint);
        return opened;
      } catch (thrown) {
        last = AppError.from(thrown);
        this.#balancer.failed(endpoint);
        if (isNamingRefusal(thrown)) this.#options.onRefused(this.#options.service, endpoint, thrown);
      }
    }
    throw last;
  }
}
