/** Where the workload's own application connects in order to reach services. */

import type { ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";
import type { OutboundListener, ServiceEndpoint, UpstreamService } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { Credentials } from "./credentials.ts";
import { type Downstream, Exchange } from "./exchange.ts";
import { Http1Server, type HttpServerOptions } from "./http1-server.ts";
import { serveHttp2 } from "./http2-server.ts";
import type { Limits } from "./limits.ts";
import { replyLocally } from "./local-reply.ts";
import { NO_HEADERS } from "./message.ts";
import type { OpenServers } from "./open-servers.ts";
import type { PolicyState } from "./policy-state.ts";
import { type Recorder, refusal } from "./record.ts";
import { checkRequest, isRefused, type RawRequest } from "./request-check.ts";
import { Resolver } from "./resolver.ts";
import { ServiceUpstream } from "./service-upstream.ts";
import { httpVersion, sniff } from "./sniff.ts";
import { tunnel } from "./tunnel.ts";

export interface OutboundPortOptions {
  readonly listener: OutboundListener;
  readonly state: PolicyState;
  readonly credentials: Credentials;
  readonly servers: OpenServers;
  readonly limits: Limits;
  readonly recorder: Recorder;
  readonly logger: Logger;
}

/** A service's names as its clients write them; the short one only inside its namespace, so that no two services share one. */
function namesOf({ service, host }: UpstreamService, workload: string): readonly string[] {
  const [ownNamespace = "", name = ""] = service.split("/");
  // A ServiceEntry's host has no shorter form.
  if (name === host) return [host];
  const names = [host, `${name}.${ownNamespace}.svc`, `${name}.${ownNamespace}`];
  return workload.startsWith(`${ownNamespace}/`) ? [...names, name] : names;
}

/** Host without its port, in lower case. */
function hostOf(authority: string): string {
  return authority.toLowerCase().replace(/:\d+$/, "");
}

export class OutboundPort {
  readonly #options: OutboundPortOptions;
  readonly #http1: Http1Server<undefined>;
  readonly #httpOptions: HttpServerOptions<undefined>;
  readonly #resolver = new Resolver();
  readonly #sessions = new Set<ServerHttp2Session>();
  #listener: OutboundListener;
  #upstreams: readonly ServiceUpstream[];
  /** By the names in Host. */
  #byName: ReadonlyMap<string, ServiceUpstream>;

  constructor(options: OutboundPortOptions) {
    const { listener, limits } = options;
    this.#options = options;
    this.#listener = listener;
    this.#upstreams = listener.services.map((service) => this.#upstream(service));
    this.#byName = this.#index();
    this.#httpOptions = {
      limits,
      handle: (raw, downstream) => this.#handle(raw, downstream),
      onMalformed: (reason) => options.logger.log("warn", "the application sent malformed HTTP", { listener: listener.name, reason }),
    };
    this.#http1 = new Http1Server(this.#httpOptions, listener.protocol === "http");
  }

  /** Takes a connection of the application. */
  accept(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    void (this.#listener.protocol === "tcp" ? this.#carry(socket) : this.#serveHttp(socket));
  }

  /** Takes what a new policy says of this listener; connections to services that did not change are kept. */
  update(listener: OutboundListener): void {
    const before = this.#upstreams;
    this.#listener = listener;
    this.#upstreams = listener.services.map(
      (service) => before.find((known) => isDeepStrictEqual(known.service, service)) ?? this.#upstream(service),
    );
    this.#byName = this.#index();
    for (const upstream of before) if (!this.#upstreams.includes(upstream)) upstream.close();
  }

  /** Lets go of connections that were agreed on by other TLS settings than those of the moment; requests in flight finish. */
  retireTls(): void {
    const before = this.#upstreams;
    this.#upstreams = before.map(({ service }) => this.#upstream(service));
    this.#byName = this.#index();
    for (const upstream of before) upstream.close();
  }

  /** Lets requests in flight finish, and ends what has none. */
  drain(): void {
    this.#http1.drain();
    for (const session of this.#sessions) session.close();
  }

  /** No longer takes connections; open ones are the acceptor's to end. */
  close(): void {
    this.#http1.close();
    for (const upstream of this.#upstreams) upstream.close();
  }

  #upstream(service: UpstreamService): ServiceUpstream {
    const { credentials, limits, servers } = this.#options;
    return new ServiceUpstream({
      service,
      credentials,
      limits,
      resolver: this.#resolver,
      servers,
      onRefused: (...refused) => this.#refused(...refused),
    });
  }

  #index(): ReadonlyMap<string, ServiceUpstream> {
    const { workload } = this.#options.state.policy;
    const named = this.#upstreams.flatMap((upstream) => namesOf(upstream.service, workload).map((name) => [name, upstream] as const));
    // Of several with one name the first in the list, which is the last to be set.
    return new Map(named.reverse());
  }

  #choose(authority: string): ServiceUpstream | undefined {
    return this.#upstreams.length === 1 ? this.#upstreams[0] : this.#byName.get(hostOf(authority));
  }

  async #serveHttp(socket: Socket): Promise<void> {
    const version = await sniff(socket, httpVersion, this.#options.limits.idleMs);
    if (version === undefined || socket.destroyed) socket.destroy();
    else if (version === "2") this.#serveHttp2(socket);
    else this.#http1.serve(socket, undefined, "http");
  }

  #serveHttp2(socket: Socket): void {
    const session = serveHttp2(socket, undefined, "http", this.#httpOptions);
    this.#sessions.add(session);
    session.once("close", () => this.#sessions.delete(session));
  }

  #handle(raw: RawRequest, downstream: Downstream): void {
    const { limits, logger } = this.#options;
    const head = checkRequest(raw, {
      maxHeaders: limits.headers,
      pathNormalization: undefined,
      trustsScheme: true,
      forwardedCertificate: undefined,
    });
    if (isRefused(head)) {
      downstream.last();
      replyLocally(downstream, head.status, head.refused, NO_HEADERS);
      return;
    }
    const upstream = this.#choose(head.authority);
    if (upstream === undefined) {
      replyLocally(downstream, 404, `no service at this listener is called ${hostOf(head.authority)}`, head.headers);
      return;
    }
    new Exchange(head, downstream, upstream, ({ failure }) => {
      if (failure !== undefined)
        logger.log("info", "a service gave no whole response", { service: upstream.service.service, reason: failure.message });
    }).start();
  }

  async #carry(socket: Socket): Promise<void> {
    try {
      const [upstream] = this.#upstreams;
      if (upstream === undefined) throw new AppError("unavailable", "the listener leads to no service");
      tunnel(socket, await upstream.connect(), this.#options.limits.idleMs);
    } catch (thrown) {
      socket.destroy();
      this.#options.logger.log("info", "a service could not be reached", {
        listener: this.#listener.name,
        reason: AppError.from(thrown).message,
      });
    }
  }

  #refused({ service, host, protocol }: UpstreamService, { address, port }: ServiceEndpoint, error: AppError): void {
    const { recorder, state, logger } = this.#options;
    logger.log("warn", "a server was refused", { service, endpoint: `${address}:${port}`, reason: error.message });
    recorder.record({
      timeMs: BigInt(Date.now()),
      caller: state.policy.identity,
      service,
      protocol: protocol === "tcp" ? "tcp" : "http",
      host,
      port,
      ...refusal(error.message),
    });
  }
}
