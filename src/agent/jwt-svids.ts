/** The workload's JWT-SVIDs and the keys that verify everybody's: asked of the control plane when somebody wants them, kept while they are good. */

import { Backoff } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { ClientMethod } from "./control-plane-call.ts";
import { GET_JWT_BUNDLE, ISSUE_JWT_SVID, type IssuedJwtSvid } from "./identity-messages.ts";
import { type JwtBundle, parseJwtBundle, readToken } from "./jwt-bundle.ts";
import type { Timers } from "./timers.ts";

export interface JwtSvidsOptions {
  /** The workload's SPIFFE ID. */
  readonly identity: string;
  /** Asks the control plane with the workload's certificate. */
  readonly call: <Request, Response>(method: ClientMethod<Request, Response>, request: Request) => Promise<Response>;
  readonly clock: Clock;
  readonly timers: Timers;
  /** In [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
}

/** Sets of audiences for which a token is kept. */
const MAX_KEPT = 64;
const MAX_IN_FLIGHT = 16;
/** Nobody is handed a token that is about to expire. */
const LEAST_LIFE_MS = 15_000;
const FIRST_RETRY_MS = 1_000;
/** For a token of a key that nobody knows here: the bundle is asked for anew, but not more often. */
const UNKNOWN_KEY_MS = 10_000;

export class JwtSvids {
  readonly #options: JwtSvidsOptions;
  readonly #backoff: Backoff;
  readonly #kept = new Map<string, IssuedJwtSvid>();
  readonly #inFlight = new Map<string, Promise<IssuedJwtSvid>>();
  readonly #listeners = new Set<() => void>();
  #bundle: JwtBundle | undefined;
  /** Key sets of other trust domains, by name. */
  #others: ReadonlyMap<string, string> = new Map();
  /** Asked for or pushed last, in milliseconds. */
  #bundleAt = 0;
  #refreshing: Promise<JwtBundle> | undefined;
  #cancelRefresh = () => {};
  #stopped = false;

  constructor(options: JwtSvidsOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: 60_000, random: options.random });
  }

  /** The bundle that was fetched last; undefined before the first. */
  get current(): JwtBundle | undefined {
    return this.#bundle;
  }

  /** Key sets of other trust domains, by name. */
  get others(): ReadonlyMap<string, string> {
    return this.#others;
  }

  /** Told of each changed bundle. Returns what ends it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** A token for these audiences: one that was issued before where half of its life is left, or any that is good while no other can be had. */
  async fetch(audiences: readonly string[]): Promise<string> {
    const key = JSON.stringify([...new Set(audiences)].sort());
    const now = this.#options.clock.now();
    const kept = this.#kept.get(key);
    if (kept !== undefined && now < (kept.issuedAt + kept.expiresAt) / 2) return kept.token;
    try {
      return (await this.#ask(key, audiences)).token;
    } catch (thrown) {
      if (kept !== undefined && now < kept.expiresAt - LEAST_LIFE_MS) return kept.token;
      throw thrown;
    }
  }

  /** The bundle; fetched the first time, from then on renewed by itself and kept while that fails. */
  async bundle(): Promise<JwtBundle> {
    return this.#bundle ?? this.#refresh();
  }

  /** The bundle, fetched anew where it lacks a key and is not fresh. */
  async bundleWith(kid: string): Promise<JwtBundle> {
    const bundle = await this.bundle();
    if (bundle.keys.has(kid) || this.#options.clock.now() < this.#bundleAt + UNKNOWN_KEY_MS) return bundle;
    return this.#refresh().catch(() => bundle);
  }

  /**
   * Takes bundles that the control plane pushed, its own where it has one, and the whole of those of other domains. Throws `permission-denied` for what is none,
   * and keeps the one before.
   */
  adopt(jwks: string, others: ReadonlyMap<string, string> = new Map()): void {
    const changed = JSON.stringify([...this.#others]) !== JSON.stringify([...others]);
    this.#others = others;
    try {
      if (jwks !== "") this.#take(jwks);
    } finally {
      // What another domain withdrew is told of also where the own keys cannot be taken.
      if (changed) for (const listener of [...this.#listeners]) listener();
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelRefresh();
  }

  #ask(key: string, audiences: readonly string[]): Promise<IssuedJwtSvid> {
    const known = this.#inFlight.get(key);
    if (known !== undefined) return known;
    if (this.#inFlight.size >= MAX_IN_FLIGHT)
      return Promise.reject(new AppError("resource-exhausted", `${MAX_IN_FLIGHT} JWT-SVIDs are being asked for`));
    const asked = this.#issue(key, audiences).finally(() => this.#inFlight.delete(key));
    this.#inFlight.set(key, asked);
    return asked;
  }

  async #issue(key: string, audiences: readonly string[]): Promise<IssuedJwtSvid> {
    const issued = await this.#options.call(ISSUE_JWT_SVID, audiences);
    if (readToken(issued.token).claims.sub !== this.#options.identity)
      throw new AppError("permission-denied", "the control plane's JWT-SVID is refused: it is for another identity");
    this.#kept.delete(key);
    this.#kept.set(key, issued);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MAX_KEPT && oldest !== undefined) this.#kept.delete(oldest);
    return issued;
  }

  #refresh(): Promise<JwtBundle> {
    this.#refreshing ??= this.#download().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #download(): Promise<JwtBundle> {
    const { call, logger } = this.#options;
    this.#cancelRefresh();
    this.#bundleAt = this.#options.clock.now();
    try {
      return this.#take(await call(GET_JWT_BUNDLE, undefined));
    } catch (thrown) {
      const { message, code } = AppError.from(thrown);
      if (this.#bundle !== undefined) logger.log("warn", "the keys of JWT-SVIDs could not be renewed and stay", { error: message, code });
      this.#again(this.#backoff.next());
      throw thrown;
    }
  }

  #take(jwks: string): JwtBundle {
    const { clock, random } = this.#options;
    const bundle = parseJwtBundle(jwks);
    const changed = bundle.jwks !== this.#bundle?.jwks;
    this.#bundle = bundle;
    this.#bundleAt = clock.now();
    // A token of a key that was withdrawn is good nowhere.
    for (const [audiences, { token }] of this.#kept) if (!bundle.keys.has(readToken(token).kid)) this.#kept.delete(audiences);
    this.#backoff.reset();
    this.#again(bundle.refreshMs * (1 - random() / 5));
    if (changed) for (const listener of [...this.#listeners]) listener();
    return bundle;
  }

  #again(delayMs: number): void {
    this.#cancelRefresh();
    if (this.#stopped) return;
    this.#cancelRefresh = this.#options.timers.after(delayMs, () => {
      this.#refresh().catch(() => undefined);
    });
  }
}
