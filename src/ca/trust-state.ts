/** What everybody in the mesh is to trust at this moment. */

import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { TrustBundle, TrustBundles } from "../identity/trust-bundle.ts";
import { parseTrustDomain, type TrustDomain } from "../identity/trust-domain.ts";
import { type Certificate, parseCertificates } from "../x509/certificate.ts";
import { formatPem } from "../x509/pem.ts";
import { authorityId } from "./authority-id.ts";

/** Immutable; whoever has taken one in is known to trust its roots. */
export interface TrustState {
  readonly bundles: TrustBundles;
  /** The roots of the mesh's own CA, by their key identifiers. */
  readonly roots: ReadonlySet<string>;
  /** Key identifiers of authorities whose certificates are to be replaced. */
  readonly tainted: ReadonlySet<string>;
  /** PEM of lists by which clients refuse servers of the mesh's own trust domain; empty for none. */
  readonly revocationLists: string;
}

export interface TrustSourceOptions {
  readonly trustDomain: TrustDomain;
  /** What the mesh's own CA signs by: the roots that verify it, and its keys of JWT-SVIDs. */
  readonly own: () => Pick<TrustBundle, "roots" | "jwks">;
  /** The bundle of the mesh's own trust domain with its number. */
  readonly numbered: (content: Pick<TrustBundle, "roots" | "jwks">) => TrustBundle;
  readonly tainted: () => ReadonlySet<string>;
  /** Those of the mesh's own CA. */
  readonly revocationLists: () => string;
  /** Why there is no whole list; empty where there is. */
  readonly unlisted: () => string;
  /** Of other trust domains. */
  readonly federated: () => TrustBundles;
  /** PEM by trust domain: what the mesh's configuration names, of other domains and beside the CA's roots of its own names. */
  readonly configured: () => ReadonlyMap<TrustDomain, string>;
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

/** PEM of both, each certificate once. */
function joinRoots(roots: string, more: string | undefined): string {
  if (more === undefined || more === "") return roots;
  const known = new Set(roots === "" ? [] : parseCertificates(roots).map(pemOf));
  return (
    roots +
    parseCertificates(more)
      .map(pemOf)
      .filter((pem) => !known.has(pem))
      .join("")
  );
}

const pemOf = ({ der }: Certificate) => formatPem("CERTIFICATE", der);

/** Its servers would be refused for want of a list. */
const BESIDE = "the MeshConfig names roots of another CA for the mesh's own trust domain, and of its certificates there is no list";
/** Bundles that nobody fetched as such. */
const UNNUMBERED = { jwks: "", sequence: 0, refreshHintSeconds: 300 };

/** What is fetched of other domains, with what the configuration names of them; none of them is one of the mesh's own names. */
function withConfigured(fetched: TrustBundles, more: ReadonlyMap<TrustDomain, string>, names: ReadonlySet<TrustDomain>): TrustBundles {
  const all = new Map(fetched);
  for (const [name, roots] of more) {
    const known = all.get(name);
    if (!names.has(name)) all.set(name, { ...UNNUMBERED, ...known, roots: joinRoots(known?.roots ?? "", roots) });
  }
  return all;
}

/** Puts the state together again whenever a part of it may have changed, and tells of what did. */
export class TrustSource {
  readonly #options: TrustSourceOptions;
  readonly #listeners: (() => void)[] = [];
  readonly #timer: NodeJS.Timeout;
  #current: TrustState;
  #unlisted = "";

  /** Throws as `own` does. */
  constructor(options: TrustSourceOptions) {
    this.#options = options;
    this.#current = this.#build();
    this.#timer = setInterval(() => this.refresh(), LOOK_MS).unref();
  }

  get current(): TrustState {
    return this.#current;
  }

  /** Why Envoys go on to call servers whose certificates are revoked; empty where they do not. It is told to whoever revokes, and no part of the state, which goes to every agent. */
  get unlisted(): string {
    return this.#unlisted;
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
      if (
        sameOwn &&
        sameBundles(next.bundles, this.#current.bundles) &&
        sameSet(next.tainted, this.#current.tainted) &&
        next.revocationLists === this.#current.revocationLists
      )
        return;
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

  #build(): TrustState {
    const { trustDomain, own, numbered, federated, configured, aliases, tainted, revocationLists, unlisted } = this.#options;
    const [{ roots, jwks }, more] = [own(), configured()];
    const bundle = numbered({ roots: joinRoots(roots, more.get(trustDomain)), jwks });
    const names = aliases().map((alias): [TrustDomain, TrustBundle] => {
      const name = parseTrustDomain(alias);
      return [name, { ...bundle, roots: joinRoots(roots, more.get(name)), jwks: "" }];
    });
    const others = withConfigured(federated(), more, new Set([trustDomain, ...names.map(([name]) => name)]));
    // Where one heap of roots can say the same, there is one.
    const bound = others.size > 0 || names.some(([, alias]) => alias.roots !== bundle.roots);
    // Whose issuer has no list is refused: of other CAs that certify servers of the mesh there is none.
    const beside = [bundle, ...names.map(([, alias]) => alias)].some((each) => each.roots !== roots);
    const lists = revocationLists();
    this.#unlisted = beside && lists !== "" ? BESIDE : unlisted();
    return {
      bundles: new Map([...others, ...(bound ? names : []), [trustDomain, bundle]]),
      roots: new Set(parseCertificates(roots).map(authorityId)),
      tainted: tainted(),
      revocationLists: beside ? "" : lists,
    };
  }
}
