/** What a leaf certificate may be: a configuration that has been checked once, and the answer to each request. */
import { AppError } from "../core/error.ts";

export interface ProfileConfig {
  /** Life when none is asked for. */
  readonly defaultTtlSeconds: number;
  readonly maxTtlSeconds: number;
  /** How far NotBefore lies before the moment of issue, for peers whose clocks are slow. */
  readonly backdateSeconds: number;
  /** Whether DNS names may stand beside the URI. */
  readonly dnsNames: "refused" | "allowed";
}

/** Milliseconds on whole seconds, as certificates have them. */
export interface Validity {
  readonly notBefore: number;
  readonly notAfter: number;
}

const MAX_BACKDATE_SECONDS = 3600;
const DNS_NAME = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/;

function positive(value: number, field: string): void {
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new AppError(
      "invalid-configuration",
      `\`${field}\` of a certificate profile is not a whole number of seconds from 1: \`${value}\``,
    );
  }
}

/** A profile whose configuration has been checked; only `Profile.from` makes one. */
export class Profile {
  readonly #config: ProfileConfig;

  private constructor(config: ProfileConfig) {
    this.#config = config;
  }

  /** Throws `invalid-configuration`. */
  static from(config: ProfileConfig): Profile {
    positive(config.defaultTtlSeconds, "defaultTtlSeconds");
    positive(config.maxTtlSeconds, "maxTtlSeconds");
    if (config.defaultTtlSeconds > config.maxTtlSeconds) {
      throw new AppError("invalid-configuration", "`defaultTtlSeconds` of a certificate profile is above its `maxTtlSeconds`");
    }
    if (!Number.isInteger(config.backdateSeconds) || config.backdateSeconds < 0 || config.backdateSeconds > MAX_BACKDATE_SECONDS) {
      throw new AppError("invalid-configuration", `\`backdateSeconds\` of a certificate profile is not from 0 to ${MAX_BACKDATE_SECONDS}`);
    }
    return new Profile({ ...config });
  }

  /**
   * The validity of a certificate issued at `now` (milliseconds) for `ttlSeconds` (0: the default), cut to the end of its
   * issuer. Throws `invalid-argument` for a life that is not allowed.
   */
  validity(now: number, ttlSeconds: number, issuerNotAfter: number): Validity {
    const { defaultTtlSeconds, maxTtlSeconds, backdateSeconds } = this.#config;
    if (ttlSeconds > maxTtlSeconds) {
      throw new AppError("invalid-argument", `the requested TTL ${ttlSeconds} s is greater than the max allowed TTL ${maxTtlSeconds} s`);
    }
    if (!Number.isInteger(ttlSeconds) || ttlSeconds < 0) {
      throw new AppError("invalid-argument", `the requested TTL ${ttlSeconds} s is not a whole number of seconds from 0`);
    }
    const second = Math.floor(now / 1000);
    const notAfter = (second + (ttlSeconds === 0 ? defaultTtlSeconds : ttlSeconds)) * 1000;
    return { notBefore: (second - backdateSeconds) * 1000, notAfter: Math.min(notAfter, issuerNotAfter) };
  }

  /** Throws `invalid-argument` unless each name is allowed: a DNS name in lower case, no wildcard. */
  checkDnsNames(names: readonly string[]): void {
    if (names.length > 0 && this.#config.dnsNames === "refused")
      throw new AppError("invalid-argument", "DNS names are not allowed by this certificate profile");
    const bad = names.find((name) => !DNS_NAME.test(name));
    if (bad !== undefined) throw new AppError("invalid-argument", `\`${bad.slice(0, 300)}\` is not a DNS name that can be certified`);
  }
}
