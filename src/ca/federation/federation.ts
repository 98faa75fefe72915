/** All trust domains that are federated with, as a file says that is followed while it changes. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { TrustBundle, TrustBundles } from "../../identity/trust-bundle.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { FederatedDomain, type FederatedDomainStatus } from "./federated-domain.ts";
import type { Relation } from "./relations.ts";

export interface FederationOptions {
  /** Reads the relations of the moment; the names mean the mesh itself. Throws where they cannot be taken. */
  readonly read: (names: readonly string[]) => readonly Relation[];
  /** The mesh's own. */
  readonly trustDomain: TrustDomain;
  /** Where bundles are kept. */
  readonly folder: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const LOOK_MS = 2_000;

export class Federation {
  readonly #options: FederationOptions;
  readonly #listeners: (() => void)[] = [];
  readonly #timer: NodeJS.Timeout;
  #domains: ReadonlyMap<TrustDomain, FederatedDomain> = new Map();
  #broken = "";
  #aliases: () => readonly string[] = () => [];

  /** Throws what `read` throws, and `invalid-configuration` for a first bundle that is none. */
  constructor(options: FederationOptions) {
    this.#options = options;
    mkdirSync(options.folder, { recursive: true, mode: 0o700 });
    this.#follow(options.read(this.#ownNames));
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  /** What is trusted of each other domain at this moment. */
  get bundles(): TrustBundles {
    const own = this.#ownNames;
    const trusted = [...this.#domains].flatMap(([name, domain]): [TrustDomain, TrustBundle][] => {
      const bundle = own.includes(name) ? undefined : domain.trusted;
      return bundle === undefined ? [] : [[name, bundle]];
    });
    return new Map(trusted);
  }

  get statuses(): readonly FederatedDomainStatus[] {
    return [...this.#domains.values()].map(({ status }) => status);
  }

  /** The mesh has other names from now on: no bundle is ever bound to one of them. */
  useAliases(aliases: () => readonly string[]): void {
    this.#aliases = aliases;
  }

  get #ownNames(): readonly string[] {
    return [this.#options.trustDomain, ...this.#aliases()];
  }

  /** Listeners are called when what is trusted may have changed. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  close(): void {
    clearInterval(this.#timer);
    for (const domain of this.#domains.values()) domain.close();
  }

  /** A file that cannot be taken changes nothing: what it said before stays in force. */
  #look(): void {
    try {
      if (this.#follow(this.#options.read(this.#ownNames))) this.#tell();
      this.#broken = "";
    } catch (thrown) {
      const { message } = AppError.from(thrown);
      if (message !== this.#broken)
        this.#options.logger.log("error", "the federation's file cannot be taken, its last form stays in force", { reason: message });
      this.#broken = message;
    }
  }

  /** Whether anything is different. All that is new is made before anything of what was is ended. */
  #follow(relations: readonly Relation[]): boolean {
    const before = this.#domains;
    const next = new Map<TrustDomain, FederatedDomain>();
    try {
      for (const relation of relations) next.set(relation.trustDomain, this.#same(relation) ?? this.#open(relation));
    } catch (thrown) {
      for (const [name, domain] of next) if (before.get(name) !== domain) domain.close();
      throw thrown;
    }
    const gone = [...before].filter(([name, domain]) => next.get(name) !== domain);
    for (const [, domain] of gone) domain.close();
    const changed = gone.length > 0 || next.size !== before.size;
    this.#domains = next;
    if (changed) this.#options.logger.log("info", "the federation's file is in force", { trustDomains: [...next.keys()].join() });
    return changed;
  }

  #same(relation: Relation): FederatedDomain | undefined {
    const known = this.#domains.get(relation.trustDomain);
    return JSON.stringify(known?.relation) === JSON.stringify(relation) ? known : undefined;
  }

  #open(relation: Relation): FederatedDomain {
    const { folder, clock, logger } = this.#options;
    return new FederatedDomain({
      relation,
      file: join(folder, `${relation.trustDomain}.json`),
      clock,
      logger,
      onChange: () => this.#tell(),
    });
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}
