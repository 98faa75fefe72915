/** The roots that the mesh's configuration names beside the CA's own (Istio `caCertificates`): each verifies identities of its domains alone, and signs nothing here. */
import { hash } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { formatPlace } from "../../core/diagnostic.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { parseTrustDomain, type TrustDomain } from "../../identity/trust-domain.ts";
import type { RootsSource } from "../../policy/mesh-config.ts";
import { type Certificate, parseCertificates } from "../../x509/certificate.ts";
import { formatPem } from "../../x509/pem.ts";
import { authorityId } from "../authority-id.ts";
import { ensurePrivateFolder } from "../state-files.ts";
import { FederatedDomain, type FederatedDomainOptions, type FederatedDomainStatus } from "./federated-domain.ts";
import { domainsOf, type MeshNames } from "./mesh-roots-check.ts";

export interface MeshRootsOptions {
  /** Where bundles are kept. */
  readonly folder: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly fetch: NonNullable<FederatedDomainOptions["fetch"]>;
}

/** One source, and what has come of it. */
export interface MeshRootsStatus extends FederatedDomainStatus {
  /** `FILE:LINE:COLUMN path`. */
  readonly from: string;
  /** Those that are trusted now: identifiers of their keys, and until when in milliseconds. */
  readonly roots: readonly { readonly id: string; readonly notAfter: number }[];
}

/** As for a federated domain that says nothing else. */
const STALE_MS = 86_400_000;

interface Endpoint {
  readonly url: string;
  /** A bundle is of one domain: the mesh's own by all its names, another's by one. */
  readonly trustDomain: TrustDomain;
}

/** A source for one of its domains. */
interface Binding {
  readonly source: RootsSource;
  readonly trustDomain: TrustDomain;
  /** Undefined where the roots are written out. */
  readonly endpoint: Endpoint | undefined;
}

const keyOf = ({ url, trustDomain }: Endpoint) => JSON.stringify([url, trustDomain]);

function bindingsOf(source: RootsSource, names: MeshNames): readonly Binding[] {
  const { from, trustDomains } = source;
  const own = trustDomains.length === 0 ? parseTrustDomain(names[0]) : undefined;
  return domainsOf(source, names).map((name) => {
    const trustDomain = parseTrustDomain(name);
    return { source, trustDomain, endpoint: from.kind === "pem" ? undefined : { url: from.url, trustDomain: own ?? trustDomain } };
  });
}

export class MeshRoots {
  readonly #options: MeshRootsOptions;
  readonly #listeners: (() => void)[] = [];
  #bindings: readonly Binding[] = [];
  #endpoints: ReadonlyMap<string, FederatedDomain> = new Map();

  /** Throws `unsafe-permissions`. */
  constructor(options: MeshRootsOptions) {
    this.#options = options;
    ensurePrivateFolder(options.folder);
  }

  /** Listeners are called when a bundle came, went, or became stale; never while `follow` runs. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Takes sources that `checkRoots` finds no error in, and what the mesh is called. */
  follow(sources: readonly RootsSource[], names: MeshNames): void {
    this.#bindings = sources.flatMap((source) => bindingsOf(source, names));
    const before = this.#endpoints;
    const wanted = new Map(
      this.#bindings.flatMap(({ endpoint }) => (endpoint === undefined ? [] : [[keyOf(endpoint), endpoint] as const])),
    );
    const now = [...wanted].flatMap(([key, endpoint]) => {
      const domain = before.get(key) ?? this.#open(endpoint);
      return domain === undefined ? [] : [[key, domain] as const];
    });
    this.#endpoints = new Map(now);
    const gone = [...before].filter(([key]) => !wanted.has(key));
    for (const [key, domain] of gone) {
      domain.close();
      rmSync(this.#fileOf(key), { force: true });
    }
    if (gone.length > 0 || now.some(([key]) => !before.has(key))) setImmediate(() => this.#tell());
  }

  /** PEM of what is trusted now, by trust domain; of the mesh's own names, what comes beside the CA's roots. */
  get roots(): ReadonlyMap<TrustDomain, string> {
    const found = new Map<TrustDomain, Set<string>>();
    for (const binding of this.#bindings) {
      const known = found.get(binding.trustDomain) ?? new Set();
      for (const { der } of this.#rootsOf(binding)) known.add(formatPem("CERTIFICATE", der));
      found.set(binding.trustDomain, known);
    }
    return new Map([...found].flatMap(([name, roots]) => (roots.size === 0 ? [] : [[name, [...roots].join("")] as const])));
  }

  /** Other trust domains, and other names of the mesh, of which a bundle has been fetched and is good. */
  get fetched(): readonly TrustDomain[] {
    const good = this.#bindings.filter((binding) => binding.endpoint !== undefined && this.#rootsOf(binding).length > 0);
    return good.map(({ trustDomain }) => trustDomain);
  }

  get statuses(): readonly MeshRootsStatus[] {
    return this.#bindings.map((binding) => {
      const { source, trustDomain, endpoint } = binding;
      const roots = this.#rootsOf(binding).map((root) => ({ id: authorityId(root), notAfter: root.notAfter }));
      const own = { trustDomain, from: `${formatPlace(source.place)} ${source.path}`, roots };
      if (endpoint === undefined) return { url: "", profile: "pem", state: "trusted", failure: "", ...own };
      const none = { url: endpoint.url, state: "waiting", failure: "what was fetched cannot be kept" } as const;
      return { ...(this.#endpoints.get(keyOf(endpoint))?.status ?? none), profile: "spiffeBundleUrl", ...own };
    });
  }

  close(): void {
    for (const domain of this.#endpoints.values()) domain.close();
  }

  #rootsOf({ source: { from }, endpoint }: Binding): readonly Certificate[] {
    const fetched = endpoint === undefined ? undefined : this.#endpoints.get(keyOf(endpoint))?.trusted?.roots;
    const pem = from.kind === "pem" ? from.pem : (fetched ?? "");
    return pem === "" ? [] : parseCertificates(pem);
  }

  #fileOf(key: string): string {
    return join(this.#options.folder, `${hash("sha256", key).slice(0, 32)}.json`);
  }

  /** What was kept and cannot be used is fetched anew. Undefined where that cannot be. */
  #open(endpoint: Endpoint): FederatedDomain | undefined {
    const { clock, logger, fetch } = this.#options;
    const { url, trustDomain } = endpoint;
    const file = this.#fileOf(keyOf(endpoint));
    const relation = { trustDomain, url, proof: { profile: "https_web", caFile: undefined }, staleAfterMs: STALE_MS } as const;
    const open = () => new FederatedDomain({ relation, file, clock, logger, fetch, onChange: () => this.#tell() });
    try {
      return open();
    } catch (thrown) {
      logger.log("error", "roots that were fetched before cannot be read", { trustDomain, url, reason: AppError.from(thrown).message });
    }
    try {
      rmSync(file, { force: true });
      return open();
    } catch (thrown) {
      logger.log("error", "roots are not fetched", { trustDomain, url, reason: AppError.from(thrown).message });
      return undefined;
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}
