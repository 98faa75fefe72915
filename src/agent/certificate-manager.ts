/**
 * The life of the workload's certificate: fetched at the start, renewed at half of its life, and kept for as long as
 * it is valid while renewal fails (the model is ztunnel's `identity/manager.rs`).
 */

import { Backoff } from "../core/backoff.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { IssuedCertificate } from "./issued-certificate.ts";
import { serverRootsVersion, type Trusted } from "./secrets.ts";
import { runAfter, runAt, type Timers } from "./timers.ts";

/** What came of one request for a certificate. `retryAfterMs` is the least wait that the control plane asks for. */
export type CertificateAnswer =
  | { readonly kind: "issued"; readonly certificate: IssuedCertificate }
  | { readonly kind: "failed"; readonly error: AppError; readonly retryAfterMs: number };

/** Asks for a certificate, presenting the current one where there is one. */
export type RequestCertificate = (current: IssuedCertificate | undefined) => Promise<CertificateAnswer>;

interface Failing {
  readonly failures: number;
  readonly lastError: AppError | undefined;
  /** Milliseconds since the epoch. */
  readonly nextAttemptAt: number;
}

/** Where the certificate's life stands. */
export type CertificateState =
  | ({ readonly kind: "starting" } & Failing)
  | { readonly kind: "valid"; readonly certificate: IssuedCertificate; readonly nextAttemptAt: number }
  | ({ readonly kind: "renewal-failing"; readonly certificate: IssuedCertificate } & Failing)
  | ({ readonly kind: "expired"; readonly certificate: IssuedCertificate } & Failing)
  | { readonly kind: "stopped"; readonly certificate: IssuedCertificate | undefined };

export interface CertificateManagerOptions {
  readonly request: RequestCertificate;
  readonly clock: Clock;
  readonly timers: Timers;
  /** In [0, 1). */
  readonly random: () => number;
  readonly logger: Logger;
}

/** Renewal is due at half of the life, give or take this part of it, so that a fleet that started together does not renew together (Istio: 0.5 ± 0.01, AG-4). */
const RENEWAL_JITTER = 0.05;
/** With this part of its life left a certificate that could not be renewed is warned of. */
const WARN_AT_LIFE_LEFT = 0.2;
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 60_000;
/** A control plane may ask for patience, but not for the certificate to run out in silence. */
const LONGEST_HINT_MS = 3_600_000;

/** A busy control plane tells many the same: they come back this part of the wait later, or less. */
const HINT_JITTER = 0.25;

type Listener = (certificate: IssuedCertificate) => void;

export class CertificateManager {
  readonly #options: CertificateManagerOptions;
  readonly #backoff: Backoff;
  readonly #listeners = new Set<Listener>();
  #state: CertificateState;
  #expiresSoon = false;
  /** Those that the control plane pushed, which are newer than any answer of its. */
  #roots: string | undefined;
  /** Of other trust domains, and what is revoked; only a push tells of them. */
  #pushed: Pick<IssuedCertificate, "otherRoots" | "revocationLists"> = {};
  #inFlight: Promise<IssuedCertificate> | undefined;
  #cancelAttempt = () => {};
  #cancelWarnings = () => {};

  constructor(options: CertificateManagerOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: FIRST_RETRY_MS, maxMs: LONGEST_RETRY_MS, random: options.random });
    this.#state = { kind: "starting", failures: 0, lastError: undefined, nextAttemptAt: options.clock.now() };
  }

  get state(): CertificateState {
    return this.#state;
  }

  /** The certificate, while it is valid. */
  get valid(): IssuedCertificate | undefined {
    const current = this.#current();
    return current !== undefined && this.#options.clock.now() < current.notAfter ? current : undefined;
  }

  /** Whether less than a fifth of the certificate's life is left, or nothing: it should have been renewed long ago. */
  get expiresSoon(): boolean {
    return this.#expiresSoon;
  }

  /** Told of each new certificate. Returns what ends it. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Begins, with a certificate of an earlier run where there is one; failures are logged and tried again, for as long as it takes. */
  start(earlier?: IssuedCertificate): void {
    if (earlier === undefined) this.#attempt();
    else this.#adopt(earlier, "certificate of an earlier run taken up");
  }

  /** Renews now, or joins the renewal that is under way. Rejects with the reason; the old certificate then stays and the retries go on. */
  renew(): Promise<IssuedCertificate> {
    if (this.#state.kind === "stopped") return Promise.reject(new AppError("unavailable", "the agent is stopping"));
    this.#inFlight ??= this.#request().finally(() => {
      this.#inFlight = undefined;
    });
    return this.#inFlight;
  }

  /** Renews with a request that is made from now on: what answers one that is under way may be as bad as the certificate that it is to replace. */
  async replace(): Promise<IssuedCertificate> {
    await this.#inFlight?.catch(() => undefined);
    return this.renew();
  }

  /** Takes other roots for its certificates, of now and to come, and what is revoked, and tells the listeners of it. */
  trust({ roots, otherRoots = new Map(), revocationLists = "" }: Trusted): void {
    this.#roots = roots;
    this.#pushed = { ...(otherRoots.size === 0 ? {} : { otherRoots }), ...(revocationLists === "" ? {} : { revocationLists }) };
    const state = this.#state;
    if (state.kind === "starting" || state.kind === "stopped" || state.certificate === undefined) return;
    if (serverRootsVersion(state.certificate) === serverRootsVersion({ roots, ...this.#pushed })) return;
    const { otherRoots: _, revocationLists: __, ...rest } = state.certificate;
    const certificate = { ...rest, roots, ...this.#pushed };
    this.#state = { ...state, certificate };
    for (const listener of this.#listeners) listener(certificate);
  }

  /** What comes with the next certificate counts again: nobody tells of roots any more. */
  trustAnswers(): void {
    this.#roots = undefined;
  }

  /** No further attempt is made, and the answer of one under way is not used. */
  stop(): void {
    this.#cancelAttempt();
    this.#cancelWarnings();
    this.#state = { kind: "stopped", certificate: this.#current() };
  }

  #current(): IssuedCertificate | undefined {
    return this.#state.kind === "starting" ? undefined : this.#state.certificate;
  }

  /** The reason of a failure is in the state and in the log, so the promise itself has no other reader here. */
  #attempt(): void {
    this.renew().catch(() => undefined);
  }

  async #request(): Promise<IssuedCertificate> {
    this.#cancelAttempt();
    const answer = await this.#options
      .request(this.valid)
      .catch((thrown): CertificateAnswer => ({ kind: "failed", error: AppError.from(thrown), retryAfterMs: 0 }));
    if (this.#state.kind === "stopped") throw new AppError("unavailable", "the agent is stopping");
    if (answer.kind === "issued")
      return this.#adopt({ ...answer.certificate, roots: this.#roots ?? answer.certificate.roots, ...this.#pushed });
    this.#fail(answer);
    throw answer.error;
  }

  #adopt(certificate: IssuedCertificate, how = "certificate received"): IssuedCertificate {
    const { clock, logger, random } = this.#options;
    this.#backoff.reset();
    // From now and not from notBefore: a CA dates certificates back against skewed clocks, by more than a short one lives.
    const life = certificate.notAfter - clock.now();
    const share = 0.5 + (random() * 2 - 1) * RENEWAL_JITTER;
    const nextAttemptAt = this.#schedule(Math.max(FIRST_RETRY_MS, life * share));
    this.#state = { kind: "valid", certificate, nextAttemptAt };
    this.#expiresSoon = false;
    this.#watchLife(certificate, life);
    logger.log("info", how, {
      identity: certificate.identity,
      serial: certificate.serial,
      notAfter: new Date(certificate.notAfter).toISOString(),
      renewal: new Date(nextAttemptAt).toISOString(),
    });
    for (const listener of this.#listeners) listener(certificate);
    return certificate;
  }

  #fail({ error, retryAfterMs }: { readonly error: AppError; readonly retryAfterMs: number }): void {
    const { clock, logger } = this.#options;
    const delay = this.#delay(retryAfterMs);
    const before = this.#state;
    const failures = "failures" in before ? before.failures + 1 : 1;
    const failing: Failing = { failures, lastError: error, nextAttemptAt: this.#schedule(delay) };
    const certificate = this.#current();
    if (certificate === undefined) this.#state = { kind: "starting", ...failing };
    else this.#state = { kind: clock.now() < certificate.notAfter ? "renewal-failing" : "expired", certificate, ...failing };
    logger.log("warn", certificate === undefined ? "no certificate yet" : "the certificate could not be renewed", {
      error: error.message,
      code: error.code,
      help: error.help,
      failures,
      retryInMs: Math.round(delay),
      ...(certificate === undefined ? {} : { keeps: certificate.serial, notAfter: new Date(certificate.notAfter).toISOString() }),
    });
  }

  /** A control plane that is busy knows when there is room; waiting longer each time would only lengthen the queue's end. */
  #delay(retryAfterMs: number): number {
    if (retryAfterMs === 0) return this.#backoff.next();
    const hint = retryAfterMs * (1 + this.#options.random() * HINT_JITTER);
    return Math.min(Math.max(FIRST_RETRY_MS, hint), LONGEST_HINT_MS);
  }

  #schedule(delay: number): number {
    const { clock, timers } = this.#options;
    this.#cancelAttempt = runAfter(clock, timers, delay, () => this.#attempt());
    return clock.now() + delay;
  }

  /** A renewal replaces these before they are due; that one of them runs means that none came. */
  #watchLife(certificate: IssuedCertificate, life: number): void {
    const { clock, timers } = this.#options;
    this.#cancelWarnings();
    const cancels = [
      runAt(clock, timers, certificate.notAfter - life * WARN_AT_LIFE_LEFT, () => this.#warnExpiring(certificate)),
      runAt(clock, timers, certificate.notAfter, () => this.#expire(certificate)),
    ];
    this.#cancelWarnings = () => {
      for (const cancel of cancels) cancel();
    };
  }

  #warnExpiring({ serial, notAfter }: IssuedCertificate): void {
    this.#expiresSoon = true;
    const minutesLeft = Math.round((notAfter - this.#options.clock.now()) / 60_000);
    this.#options.logger.log("error", "the certificate expires soon and is not renewed", {
      serial,
      minutesLeft,
      notAfter: new Date(notAfter).toISOString(),
    });
  }

  #expire(certificate: IssuedCertificate): void {
    const before = this.#state;
    if (before.kind === "valid") this.#state = { ...before, kind: "expired", failures: 0, lastError: undefined };
    if (before.kind === "renewal-failing") this.#state = { ...before, kind: "expired" };
    this.#options.logger.log("error", "the certificate has expired: peers refuse this workload until it is renewed", {
      identity: certificate.identity,
      serial: certificate.serial,
    });
  }
}
