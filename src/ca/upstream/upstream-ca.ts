/** A CA that authenticates and authorizes here, and has another one sign. What comes back is handed out only once it has been checked. */
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { Certificate } from "../../x509/certificate.ts";
import { hexOf } from "../../x509/hex.ts";
import type { Profile } from "../../x509/profile.ts";
import { keyIdentifier, keyKindOf } from "../../x509/public-key.ts";
import type { CaSource, Certification, SignerStatus } from "../ca-source.ts";
import type { Certified, Order, PreparedOrder } from "../certifier.ts";
import { Breaker } from "./breaker.ts";
import { type CheckedChain, checkAnswer } from "./check.ts";
import type { Upstream } from "./model.ts";
import { FollowedRoots } from "./roots.ts";

export interface UpstreamCaOptions {
  /** The roots file is read anew for each connection. */
  readonly connect: (roots: () => string) => Upstream;
  readonly rootsFile: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly attemptMs?: number;
}

const ATTEMPT_MS = 5000;
/** One more, after a moment: an answer may be lost on the way, and the certificate of it is then nobody's. */
const ATTEMPTS = 2;
const MAX_ASKING = 256;

function isWorthAnother({ code }: AppError): boolean {
  return code === "unavailable" || code === "deadline-exceeded";
}

export class UpstreamCa implements CaSource {
  readonly name: string;
  readonly #upstream: Upstream;
  readonly #roots: FollowedRoots;
  readonly #breaker: Breaker;
  readonly #options: UpstreamCaOptions;
  readonly #followers: ((current: Certification) => void)[] = [];
  readonly #closing = new AbortController();
  #asking = 0;
  #intermediates: readonly Certificate[] = [];
  #signer: SignerStatus | undefined;
  #problem: string | undefined;
  #lastFailure = "";

  /** Throws `invalid-configuration` and `unsafe-permissions` for the file of roots. */
  constructor(options: UpstreamCaOptions) {
    this.#options = options;
    this.#roots = new FollowedRoots(options.rootsFile, options.logger, () => {
      for (const follower of this.#followers) follower(this.current);
    });
    this.#breaker = new Breaker(options.clock);
    this.#upstream = options.connect(() => this.#roots.text);
    this.name = this.#upstream.name;
  }

  get current(): Certification {
    return {
      certifier: { prepare: (profile, order) => this.#prepare(profile, order) },
      issuer: undefined,
      intermediates: this.#intermediates,
      roots: this.#roots.certificates,
      signer: this.#signer,
    };
  }

  get problem(): string | undefined {
    return this.#problem ?? this.#roots.problem;
  }

  follow(listener: (current: Certification) => void): void {
    this.#followers.push(listener);
  }

  close(): void {
    this.#closing.abort();
    this.#roots.close();
    this.#upstream.close();
  }

  /** DNS names are left out: what another CA certifies is the identity alone. */
  #prepare(profile: Profile, order: Order): PreparedOrder {
    const kind = keyKindOf(order.spki);
    if (kind.leafUsage === undefined)
      throw new AppError(
        "invalid-argument",
        `the public key is ${kind.name}, and Envoy takes no such certificate from its peers: take P-256, P-384 or RSA`,
      );
    const validity = profile.validity(order.now, order.ttlSeconds, Number.MAX_SAFE_INTEGER);
    return { ...validity, keyId: hexOf(keyIdentifier(order.spki)), certify: () => this.#certify(order, validity.notAfter) };
  }

  async #certify(order: Order, notAfter: number): Promise<Certified> {
    if (this.#asking >= MAX_ASKING)
      throw new AppError("resource-exhausted", `${MAX_ASKING} requests wait for the other CA already`, { help: "ask again later" });
    this.#asking += 1;
    try {
      const checked = await this.#ask(order, notAfter);
      this.#works(checked);
      return { leaf: checked.leaf, intermediates: checked.intermediates };
    } catch (thrown) {
      throw this.#fails(AppError.from(thrown));
    } finally {
      this.#asking -= 1;
    }
  }

  async #ask(order: Order, notAfter: number): Promise<CheckedChain> {
    const { clock } = this.#options;
    const ttlSeconds = Math.round((notAfter - Math.floor(order.now / 1000) * 1000) / 1000);
    for (let attempt = 1; ; attempt++) {
      if (!this.#breaker.admit()) throw new AppError("unavailable", this.#lastFailure);
      let pems: readonly string[];
      try {
        pems = await this.#attempt(order, ttlSeconds);
        this.#breaker.succeeded();
      } catch (thrown) {
        const error = AppError.from(thrown);
        if (!isWorthAnother(error)) throw error;
        this.#lastFailure = error.message;
        this.#breaker.failed();
        if (attempt === ATTEMPTS) throw error;
        continue;
      }
      return checkAnswer(pems, { spki: order.spki, uri: order.uri, notAfter, roots: this.#roots.certificates, now: clock.now() });
    }
  }

  async #attempt({ csr, uri }: Order, ttlSeconds: number): Promise<readonly string[]> {
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(this.#options.attemptMs ?? ATTEMPT_MS)]);
    const late = Promise.withResolvers<never>();
    const end = (): void => late.reject(new AppError("deadline-exceeded", "the other CA did not answer in time"));
    signal.addEventListener("abort", end, { once: true });
    try {
      return await Promise.race([this.#upstream.request({ csr, uri, ttlSeconds }, signal), late.promise]);
    } finally {
      signal.removeEventListener("abort", end);
    }
  }

  #works({ issuer, issuerValidUntil, intermediates }: CheckedChain): void {
    if (this.#problem !== undefined) this.#options.logger.log("info", "the other CA signs again", { ca: this.name });
    this.#problem = undefined;
    this.#intermediates = intermediates;
    this.#signer = { keyKind: keyKindOf(issuer.spki).name, serial: issuer.serial, notAfter: issuerValidUntil };
  }

  #fails(error: AppError): AppError {
    if (error.code === "resource-exhausted") return error;
    if (this.#problem !== error.message) {
      this.#problem = error.message;
      this.#options.logger.log("error", "the other CA does not sign", { ca: this.name, reason: error.message });
    }
    // What it says of this control plane's own credentials is not the caller's to read.
    return new AppError("unavailable", "the certificate authority behind this one does not sign", { cause: error });
  }
}
