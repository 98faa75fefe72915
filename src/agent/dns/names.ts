/**
 * The agent's DNS: names of the mesh are answered from the table that the control plane pushes, and no resolver is believed about
 * them; all others are asked of the machine's own servers. Before there is a table nobody knows which are which, and nothing is answered.
 */
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { Timers } from "../timers.ts";
import { startDnsServer } from "./dns-server.ts";
import { addressAnswer, failure, type Query, RCODE, readQuery } from "./messages.ts";
import type { NameTable } from "./name-table.ts";
import { NamesClient, type NamesClientOptions } from "./names-client.ts";
import { ResolvConf, type ResolverConfiguration } from "./resolv-conf.ts";
import { Upstream } from "./upstream.ts";

export interface ResolverOptions {
  readonly namespace: string;
  /** Of now; undefined before the first. */
  readonly table: () => NameTable | undefined;
  readonly resolver: () => ResolverConfiguration;
  readonly timers: Timers;
  readonly logger: Logger;
  /** For one server to answer one attempt. */
  readonly attemptMs?: number;
}

/** Answers questions as they come; never rejects. */
export class Resolver {
  readonly #options: ResolverOptions;
  readonly #upstream: Upstream;

  constructor(options: ResolverOptions) {
    this.#options = options;
    const { resolver, timers, attemptMs } = options;
    const bounds = attemptMs === undefined ? {} : { attemptMs };
    this.#upstream = new Upstream({ servers: () => resolver().servers, timers, ...bounds });
  }

  async answer(bytes: Buffer, transport: "udp" | "tcp"): Promise<Buffer | undefined> {
    const read = readQuery(bytes, transport);
    if (read.kind === "nothing") return undefined;
    if (read.kind === "refused") return read.answer;
    return this.#ofMesh(read.query) ?? (await this.#ofOthers(read.query, transport));
  }

  close(): void {
    this.#upstream.close();
  }

  #ofMesh(query: Query): Buffer | undefined {
    const { namespace, table: newest, resolver } = this.#options;
    const table = newest();
    if (table === undefined) return failure(query, RCODE.serverFailure);
    const { search } = resolver();
    const addresses = query.name === "" ? undefined : table.lookup(query.name, namespace, search);
    if (addresses !== undefined) return addressAnswer(query, addresses);
    return table.owns(query.name, search) ? failure(query, RCODE.noSuchName) : undefined;
  }

  async #ofOthers(query: Query, transport: "udp" | "tcp"): Promise<Buffer> {
    try {
      return await this.#upstream.ask(query, transport);
    } catch (thrown) {
      this.#options.logger.log("debug", "a question of DNS is not answered", { reason: AppError.from(thrown).message });
      return failure(query, RCODE.serverFailure);
    }
  }
}

export interface NamesOptions extends NamesClientOptions {
  /** Of loopback. */
  readonly port: number;
  /** The machine's own servers, in a file of resolv.conf's form. */
  readonly resolvConf: string;
  readonly now: () => number;
}

export interface NamesStatus {
  readonly port: number;
  /** Those that are answered; undefined before the control plane has sent any. */
  readonly names?: number;
  /** Whether changes come as they happen. */
  readonly followed: boolean;
}

export interface Names {
  /** Whether there is a table. */
  readonly ready: boolean;
  /** Resolves when there is one. */
  readonly had: Promise<void>;
  /** Follows the table; a certificate is there. */
  follow(): void;
  status(): NamesStatus;
  close(): void;
}

/** Answers from the moment that this resolves. Throws `address-in-use`, `unavailable`. */
export async function startNames(options: NamesOptions): Promise<Names> {
  const { workload, timers, logger } = options;
  const [namespace = ""] = workload.split("/");
  const client = new NamesClient(options);
  const resolvConf = new ResolvConf(options.resolvConf, options.now, logger);
  const resolver = new Resolver({ namespace, table: () => client.table, resolver: () => resolvConf.current, timers, logger });
  const { port, close } = await startDnsServer({ port: options.port, answer: (bytes, transport) => resolver.answer(bytes, transport) });
  logger.log("info", "questions of DNS are answered", { port });
  return {
    get ready() {
      return client.table !== undefined;
    },
    had: client.had,
    follow: () => client.start(),
    status: () => ({ port, ...(client.table === undefined ? {} : { names: client.table.size }), followed: client.connected }),
    close: () => {
      close();
      resolver.close();
      client.close();
    },
  };
}
