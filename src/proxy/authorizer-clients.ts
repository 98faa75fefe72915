/** The authorizers that a workload's rules ask, each with its connections, which outlive changes of policy. */
import { isDeepStrictEqual } from "node:util";
import type { Authorizer, ServiceEndpoint, UpstreamService } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { askOverGrpc } from "./authorizer-grpc.ts";
import { askOverHttp } from "./authorizer-http.ts";
import type { Verdict } from "./authorizer-verdict.ts";
import type { Check } from "./check.ts";
import type { Credentials } from "./credentials.ts";
import type { Limits } from "./limits.ts";
import type { OpenServers } from "./open-servers.ts";
import { type Recorder, refusal } from "./record.ts";
import { Resolver } from "./resolver.ts";
import { ServiceUpstream } from "./service-upstream.ts";

export interface AuthorizerClientsOptions {
  readonly credentials: Credentials;
  readonly servers: OpenServers;
  readonly limits: Limits;
  readonly recorder: Recorder;
  readonly logger: Logger;
}

interface Client {
  readonly authorizer: Authorizer;
  readonly upstream: ServiceUpstream;
}

export class AuthorizerClients {
  readonly #options: AuthorizerClientsOptions;
  readonly #resolver = new Resolver();
  /** By provider. */
  #clients: ReadonlyMap<string, Client> = new Map();
  #identity = "";

  constructor(options: AuthorizerClientsOptions) {
    this.#options = options;
  }

  /** From now on these are the authorizers. `identity` is the workload's own. */
  update(authorizers: readonly Authorizer[], identity: string): void {
    this.#identity = identity;
    const before = [...this.#clients.values()];
    this.#clients = new Map(
      authorizers.map((authorizer) => [authorizer.name, { authorizer, upstream: this.#upstreamOf(authorizer, before) }]),
    );
    const kept = new Set([...this.#clients.values()].map(({ upstream }) => upstream));
    for (const { upstream } of before) if (!kept.has(upstream)) upstream.close();
  }

  close(): void {
    this.update([], "");
  }

  /** One of them; undefined where there is none of this name. */
  find(provider: string): Authorizer | undefined {
    return this.#clients.get(provider)?.authorizer;
  }

  /** What a provider answers. Never rejects: an authorizer that cannot be asked is an answer of its own. */
  async ask(provider: string, check: Omit<Check, "identity">): Promise<Verdict> {
    const client = this.#clients.get(provider);
    if (client === undefined) return { kind: "error", reason: "it is unknown" };
    const { authorizer, upstream } = client;
    const whole = { ...check, identity: this.#identity };
    try {
      return await (authorizer.kind === "http" ? askOverHttp(authorizer, upstream, whole) : askOverGrpc(authorizer, upstream, whole));
    } catch (thrown) {
      return { kind: "error", reason: AppError.from(thrown).message };
    }
  }

  #upstreamOf({ upstream: service }: Authorizer, before: readonly Client[]): ServiceUpstream {
    const known = before.find(({ upstream }) => isDeepStrictEqual(upstream.service, service));
    if (known !== undefined) return known.upstream;
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

  #refused({ service, host, protocol }: UpstreamService, { address, port }: ServiceEndpoint, error: AppError): void {
    const { recorder, logger } = this.#options;
    logger.log("warn", "a server was refused", { service, endpoint: `${address}:${port}`, reason: error.message });
    recorder.record({
      timeMs: BigInt(Date.now()),
      caller: this.#identity,
      service,
      protocol: protocol === "tcp" ? "tcp" : "http",
      host,
      port,
      ...refusal(error.message),
    });
  }
}
