/** One trust domain that is federated with: its bundle is polled, kept over restarts, and trusted until it is stale or withdrawn. */
import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Backoff } from "../../core/backoff.ts";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import { readPrivateFile, replacePrivateFile } from "../state-files.ts";
import { type ForeignBundle, parseBundle } from "./bundle-format.ts";
import { fetchBundle } from "./fetch.ts";
import type { Relation } from "./relations.ts";

export interface FederatedDomainOptions {
  readonly relation: Relation;
  /** Where the newest bundle is kept. */
  readonly file: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What is trusted of the domain has changed. */
  readonly onChange: () => void;
  /** Fetches the document, with the roots that verify the endpoint. */
  readonly fetch?: (relation: Relation, roots: string) => Promise<string>;
}

/** What was fetched last, and what it was fetched by. */
interface Kept {
  /** Of the relation and its first bundle: others begin anew. */
  readonly origin: string;
  readonly document: string;
  /** Milliseconds. */
  readonly fetchedAt: number;
  /** Of the newest bundle that had roots: they verify the endpoint even after the domain has withdrawn all. */
  readonly roots: string;
}

export interface FederatedDomainStatus {
  readonly trustDomain: string;
  readonly url: string;
  readonly profile: string;
  readonly state: "trusted" | "waiting" | "stale" | "withdrawn";
  readonly sequence?: number;
  /** Milliseconds. */
  readonly fetchedAt?: number;
  readonly staleAt?: number;
  /** Why the last attempt failed; empty where it did not. */
  readonly failure: string;
}

const DEFAULT_REFRESH_SECONDS = 300;
const LEAST_REFRESH_MS = 5_000;
const LONGEST_REFRESH_MS = 3_600_000;
/** A bundle is asked for so often before it can be stale. */
const ASKED_BEFORE_STALE = 3;
const MAX_FILE_BYTES = 1_048_576;

function readFirst({ proof, trustDomain }: Relation): { readonly text: string; readonly roots: string } {
  if (proof.profile === "https_web") return { text: "", roots: "" };
  try {
    const text = readFileSync(proof.bundleFile, "utf8");
    if (text.length > MAX_FILE_BYTES) throw new AppError("invalid-configuration", `it has more than ${MAX_FILE_BYTES} bytes`);
    const { roots } = parseBundle(text, trustDomain);
    if (roots === "") throw new AppError("invalid-configuration", "it has no certificate");
    return { text, roots };
  } catch (thrown) {
    const { message } = AppError.from(thrown);
    const help = "put the bundle of the other domain there: `garrison federation bundle` prints it";
    throw new AppError("invalid-configuration", `the first bundle of \`${trustDomain}\` cannot be taken: ${message}`, {
      where: proof.bundleFile,
      help,
    });
  }
}

function parseKept(text: string): Kept | undefined {
  try {
    const kept = JSON.parse(text) as Partial<Kept> | null;
    const { origin, document, fetchedAt, roots } = kept ?? {};
    if (typeof origin !== "string" || typeof document !== "string" || typeof fetchedAt !== "number" || typeof roots !== "string")
      return undefined;
    return { origin, document, fetchedAt, roots };
  } catch {
    return undefined;
  }
}

export class FederatedDomain {
  readonly relation: Relation;
  readonly #options: FederatedDomainOptions;
  readonly #origin: string;
  readonly #firstRoots: string;
  readonly #backoff = new Backoff({ firstMs: 1_000, maxMs: 60_000, random: Math.random });
  #kept: Kept | undefined;
  #bundle: ForeignBundle | undefined;
  #failure = "";
  #timer: NodeJS.Timeout | undefined;
  #staleTimer: NodeJS.Timeout | undefined;
  #closed = false;

  /** Throws `invalid-configuration` for a first bundle that is none, `unsafe-permissions` for a kept one that others may write. */
  constructor(options: FederatedDomainOptions) {
    this.#options = options;
    this.relation = options.relation;
    const first = readFirst(options.relation);
    this.#firstRoots = first.roots;
    this.#origin = hash("sha256", JSON.stringify([options.relation.url, options.relation.proof, first.text]));
    const text = readPrivateFile(options.file);
    const kept = text === undefined ? undefined : parseKept(text);
    if (kept?.origin === this.#origin) this.#takeUp(kept);
    void this.#poll();
  }

  /** What an earlier version took and this one does not is fetched anew. */
  #takeUp(kept: Kept): void {
    const { trustDomain } = this.relation;
    try {
      this.#use(kept, parseBundle(kept.document, trustDomain));
    } catch (thrown) {
      const { message: reason } = AppError.from(thrown);
      this.#options.logger.log("warn", "the bundle that was kept of another trust domain cannot be used", { trustDomain, reason });
    }
  }

  /** What is trusted of the domain at this moment; undefined for nothing. */
  get trusted(): TrustBundle | undefined {
    if (this.#state() !== "trusted" || this.#bundle === undefined) return undefined;
    const { roots, jwks, sequence = 0 } = this.#bundle;
    return { roots, jwks, sequence, refreshHintSeconds: Math.ceil(this.#refreshMs() / 1_000) };
  }

  get status(): FederatedDomainStatus {
    const { trustDomain, url, proof, staleAfterMs } = this.relation;
    const fetchedAt = this.#kept?.fetchedAt;
    return {
      trustDomain,
      url,
      profile: proof.profile,
      state: this.#state(),
      ...(this.#bundle?.sequence === undefined ? {} : { sequence: this.#bundle.sequence }),
      ...(fetchedAt === undefined ? {} : { fetchedAt, staleAt: fetchedAt + staleAfterMs }),
      failure: this.#failure,
    };
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#staleTimer);
  }

  #state(): FederatedDomainStatus["state"] {
    const { clock } = this.#options;
    if (this.#kept === undefined || this.#bundle === undefined) return "waiting";
    const age = clock.now() - this.#kept.fetchedAt;
    // A clock that was set back tells no age.
    if (age >= this.relation.staleAfterMs || age < -this.relation.staleAfterMs) return "stale";
    return this.#bundle.roots === "" && this.#bundle.jwks === "" ? "withdrawn" : "trusted";
  }

  #refreshMs(): number {
    const asked = 1_000 * (this.#bundle?.refreshHintSeconds ?? DEFAULT_REFRESH_SECONDS);
    const most = Math.min(LONGEST_REFRESH_MS, this.relation.staleAfterMs / ASKED_BEFORE_STALE);
    return Math.min(most, Math.max(LEAST_REFRESH_MS, asked));
  }

  async #poll(): Promise<void> {
    const { fetch = fetchBundle, clock, logger } = this.#options;
    let delayMs: number;
    try {
      const document = await fetch(this.relation, this.#kept?.roots || this.#firstRoots);
      if (this.#closed) return;
      this.#take(document, clock.now());
      this.#backoff.reset();
      this.#failure = "";
      delayMs = this.#refreshMs();
    } catch (thrown) {
      if (this.#closed) return;
      const { message } = AppError.from(thrown);
      delayMs = Math.round(Math.min(this.#backoff.next(), this.#refreshMs()));
      if (message !== this.#failure)
        logger.log("warn", "the bundle of another trust domain is not renewed", {
          trustDomain: this.relation.trustDomain,
          reason: message,
        });
      this.#failure = message;
    }
    this.#timer = setTimeout(() => void this.#poll(), delayMs).unref();
  }

  /** On the disk before it is trusted, so that no restart goes back behind it. Throws `invalid-argument` for what may not follow the one before. */
  #take(document: string, fetchedAt: number): void {
    const bundle = parseBundle(document, this.relation.trustDomain);
    this.#checkSequence(bundle);
    const before = this.#fingerprint();
    const roots = bundle.roots === "" ? (this.#kept?.roots ?? this.#firstRoots) : bundle.roots;
    const kept: Kept = { origin: this.#origin, document, fetchedAt, roots };
    replacePrivateFile(this.#options.file, JSON.stringify(kept));
    this.#use(kept, bundle);
    if (this.#fingerprint() === before) return;
    this.#options.logger.log("info", "the bundle of another trust domain is taken", { ...this.status });
    this.#options.onChange();
  }

  #checkSequence(next: ForeignBundle): void {
    const before = this.#bundle;
    if (before?.sequence === undefined) return;
    const why = (text: string) => new AppError("invalid-argument", `the bundle is refused: ${text}`);
    if (next.sequence === undefined) throw why(`it has no number, and the one before had ${before.sequence}`);
    if (next.sequence < before.sequence) throw why(`its number ${next.sequence} is older than ${before.sequence}`);
    if (next.sequence === before.sequence && (next.roots !== before.roots || next.jwks !== before.jwks))
      throw why(`it is another one with the same number ${next.sequence}`);
  }

  #fingerprint(): string {
    return JSON.stringify([this.#state(), this.#bundle?.roots, this.#bundle?.jwks]);
  }

  #use(kept: Kept, bundle: ForeignBundle): void {
    [this.#kept, this.#bundle] = [kept, bundle];
    clearTimeout(this.#staleTimer);
    const leftMs = kept.fetchedAt + this.relation.staleAfterMs - this.#options.clock.now();
    this.#staleTimer = setTimeout(() => this.#look(), Math.min(Math.max(leftMs, 0), 2 ** 31 - 1)).unref();
  }

  #look(): void {
    if (this.#closed) return;
    if (this.#state() === "stale")
      this.#options.logger.log("error", "the bundle of another trust domain is stale: its peers are refused", { ...this.status });
    this.#options.onChange();
  }
}
