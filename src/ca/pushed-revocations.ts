/** The signed lists by which Envoys refuse servers whose certificates are revoked, made anew whenever they would say something else. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import type { Authority } from "./authority.ts";

export interface PushedRevocationsOptions {
  readonly authority: Pick<Authority, "revocations" | "onChange" | "lists">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Revoked certificates expire, and then need no list any more. */
const LOOK_MS = 600_000;
/** Some 10,000 certificates. Every agent takes them with its roots, and every cluster of an Envoy reads them for itself. */
const MAX_CHARACTERS = 500_000;

export class PushedRevocations {
  readonly #options: PushedRevocationsOptions;
  readonly #listeners: (() => void)[] = [];
  readonly #timer: NodeJS.Timeout;
  #turn: Promise<void> = Promise.resolve();
  #lists = "";
  #problem = "";
  /** What the lists are of; undefined where the last look failed, so that the next one looks again. */
  #serials: string | undefined;

  constructor(options: PushedRevocationsOptions) {
    this.#options = options;
    const { revocations } = options.authority;
    revocations.onChange(() => this.#renew(false));
    options.authority.onChange(() => this.#renew(true));
    this.#timer = setInterval(() => this.#renew(false), LOOK_MS).unref();
    this.#renew(true);
  }

  /** PEM; empty where nothing is revoked, or where the lists would refuse servers that are not. */
  get lists(): string {
    return this.#lists;
  }

  /** Why Envoys go on to call servers whose certificates are revoked; empty where they do not. */
  get problem(): string {
    return this.#problem;
  }

  /** Resolves when what was revoked by now is in the lists, or told why not. Never rejects. */
  settled(): Promise<void> {
    return this.#turn;
  }

  /** Listeners are called with each change. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #renew(anyway: boolean): void {
    this.#turn = this.#turn.then(() => this.#look(anyway));
  }

  async #look(anyway: boolean): Promise<void> {
    const { authority, clock, logger } = this.#options;
    // Also while nothing is revoked: an issuer's newest list is kept for the time when its key is not here any more.
    const serials = authority.revocations
      .listed(clock.now())
      .map(({ serial }) => serial)
      .toSorted()
      .join();
    if (serials === this.#serials && !anyway) return;
    const before = [this.#lists, this.#problem].join();
    try {
      const { pem, problem } = await authority.lists.pushed();
      if (pem.length > MAX_CHARACTERS) throw new AppError("resource-exhausted", `the lists have more than ${MAX_CHARACTERS} characters`);
      [this.#lists, this.#problem, this.#serials] = serials === "" ? ["", "", serials] : [pem, problem, serials];
    } catch (thrown) {
      // An old list would go on to refuse what it names, but servers of a new authority too.
      [this.#lists, this.#problem, this.#serials] = ["", serials === "" ? "" : AppError.from(thrown).message, undefined];
    }
    if ([this.#lists, this.#problem].join() === before) return;
    if (this.#problem !== "") logger.log("error", "Envoys go on to call servers whose certificates are revoked", { reason: this.#problem });
    for (const listener of this.#listeners) listener();
  }
}
