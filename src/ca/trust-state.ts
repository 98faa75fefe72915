/** What everybody in the mesh is to trust at this moment. */

import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { TrustBundle, TrustBundles } from "../identity/trust-bundle.ts";
import { parseTrustDomain, type TrustDomain } from "../identity/trust-domain.ts";
import { parseCertificates } from "../x509/certificate.ts";
import { authorityId } from "./authority-id.ts";

/** Immutable; whoever has taken one in is known to trust its roots. */
export interface TrustState {
  readonly bundles: TrustBundles;
  /** The roots of the mesh's own trust domain, by their key identifiers. */
  readonly roots: ReadonlySet<string>;
  /** Key identifiers of authorities whose certificates are to be replaced. */
  readonly tainted: ReadonlySet<string>;
}

export interface TrustSourceOptions {
  readonly trustDomain: TrustDomain;
  /** The bundle of the mesh's own trust domain. */
  readonly own: () => TrustBundle;
  readonly tainted: () => ReadonlySet<string>;
  /** Of other trust domains. */
  readonly federated: () => TrustBundles;
  /** Other names of the mesh's own trust domain. */
  readonly aliases: () => readonly string[];
  readonly logger: Logger;
}

/** Keys of JWT-SVIDs change by time alone: so often they are looked at. */
const LOOK_MS = 30_000;

function sameSet(left: ReadonlySet<string>, right: ReadonlySet<string>): boolean {
  return left.size === right.size && left.isSubsetOf(right);
}

/** Whether they bind the same roots and keys to the same domains. */
function sameBundles(left: TrustBundles, right: TrustBundles): boolean {
  const parts = (bundles: TrustBundles) => JSON.stringify([...bundles].map(([name, { roots, jwks }]) => [name, roots, jwks]));
  return parts(left) === parts(right);
}

/** Puts the state together again whenever a part of it may have changed, and tells of what did. */
export class TrustSource {
  readonly #options: TrustSourceOptions;
  readonly #listeners: (() => void)[] = [];
  readonly #timer: NodeJS.Timeout;
  #current: TrustState;

  /** Throws as `own` does. */
  constructor(options: TrustSourceOptions) {
    this.#options = options;
    this.#current = this.#build();
    this.#timer = setInterval(() => this.refresh(), LOOK_MS).unref();
  }

  get current(): TrustState {
    return this.#current;
  }

  /** The bundle of the mesh's own trust domain. */
  get own(): TrustBundle {
    const own = this.#current.bundles.get(this.#options.trustDomain);
    if (own === undefined) throw new AppError("internal", "there is no bundle of the own trust domain");
    return own;
  }

  /** Listeners are called with each new state. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Never throws: what cannot be recorded is not told, and tried again soon. */
  refresh(): void {
    try {
      const next = this.#build();
      const bundle = ({ bundles }: TrustState) => bundles.get(this.#options.trustDomain);
      const sameOwn = bundle(next)?.sequence === bundle(this.#current)?.sequence;
      if (sameOwn && sameBundles(next.bundles, this.#current.bundles) && sameSet(next.tainted, this.#current.tainted)) return;
      this.#current = next;
    } catch (thrown) {
      this.#options.logger.log("error", "the trust bundle cannot be told", { reason: AppError.from(thrown).message });
      return;
    }
    for (const listener of this.#listeners) listener();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Where roots are bound to domains, the mesh's are bound to each of its names; no other domain's ever are. */
  #withOthers(own: TrustBundle): TrustBundles {
    const { trustDomain, federated, aliases } = this.#options;
    const others = federated();
    if (others.size === 0) return new Map([[trustDomain, own]]);
    const names = aliases().map((alias) => [parseTrustDomain(alias), { ...own, jwks: "" }] as const);
    return new Map([...others, ...names, [trustDomain, own]]);
  }

  #build(): TrustState {
    const { own, tainted } = this.#options;
    const bundle = own();
    return {
      bundles: this.#withOthers(bundle),
      roots: new Set(parseCertificates(bundle.roots).map(authorityId)),
      tainted: tainted(),
    };
  }
}
