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
import { peerOf } from "./peer-certificate.ts";
import type { Resolver } from "./resolver.ts";
import { OriginationContext } from "./tls-origination.ts";
import type { Upstream } from "./upstream.ts";

export interface ServiceUpstreamOptions {
  readonly service: UpstreamService;
  readonly credentials: Credentials;
  readonly limits: Limits;
  readonly resolver: Resolver;
  /** Revoked certificates of the moment, by the SHA-256 of their DER in hex. */
  readonly revoked?: () => readonly string[];
  /** A server that is not who it must be. */
  readonly onRefused: (service: UpstreamService, endpoint: ServiceEndpoint, error: AppError) => void;
}

export class ServiceUpstream implements Upstream {
  readonly #options: ServiceUpstreamOptions;
  readonly #balancer: Balancer;
  readonly #origination: OriginationContext | undefined;
  readonly #pools: ReadonlyMap<ServiceEndpoint, Upstream>;
  /** Open connections of mutual TLS, each with the digest of the certificate by which its server proved itself. */
  readonly #open = new Map<Socket, string>();

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

  /** Ends at once what is open to servers that proved themselves by one of these certificates. */
  cutRevoked(digests: ReadonlySet<string>): void {
    for (const [socket, digest] of [...this.#open]) if (digests.has(digest)) socket.destroy();
  }

  close(): void {
    for (const pool of this.#pools.values()) pool.close();
  }

  #nobody(): AppError {
    return new AppError("unavailable", `no endpoint serves ${this.#options.service.service}`);
  }

  async #dial(endpoint: ServiceEndpoint): Promise<Socket> {
    const { service, credentials, limits, resolver, revoked } = this.#options;
    const revocation = revoked === undefined ? {} : { revoked: revoked() };
    const socket = await dial({ service, endpoint, credentials, limits, resolver, origination: this.#origination, ...revocation });
    if (!endpoint.mtls || !(socket instanceof TLSSocket)) return socket;
    const { digest } = peerOf(socket.getPeerCertificate().raw);
    this.#open.set(socket, digest);
    socket.once("close", () => this.#open.delete(socket));
    // It may have been revoked during the handshake.
    if (revoked?.().includes(digest) === true) socket.destroy();
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
