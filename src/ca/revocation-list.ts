/** The CA's list of revoked certificates, signed anew when it changes or half of its life is over. */
import type { Clock } from "../core/clock.ts";
import type { AnyIssuer } from "../x509/issuer.ts";
import { formatPem } from "../x509/pem.ts";
import type { Revocations } from "./revocations.ts";

/**
 * Longer than a workload's certificate lives (a day by default): while the control plane is away, an old list must not be what ends
 * connections. Verifiers refuse everything once a list is out of date.
 */
const LIFE_MS = 7 * 24 * 3600 * 1000;

/**
 * Lists that are pushed to proxies are replaced by a push. Their times must refuse nobody: Envoy verifies nothing by a list that is out of date, or not
 * in force yet by its own clock. They last as long as the authority, and begin before they were made.
 */
const PUSHED_BACKDATE_MS = 3_600_000;

/** What one authority says of the certificates that it has signed. */
export interface AuthorityList {
  /** Its key identifier in hex. */
  readonly authority: string;
  readonly pem: string;
}

interface SignedList extends AuthorityList {
  readonly renewAt: number;
}

export class RevocationListSigner {
  readonly #revocations: Revocations;
  readonly #clock: Clock;
  #signed = new WeakMap<AnyIssuer, SignedList>();
  #changes = 0;

  constructor(revocations: Revocations, clock: Clock) {
    this.#revocations = revocations;
    this.#clock = clock;
    revocations.onChange(() => {
      this.#signed = new WeakMap();
      this.#changes += 1;
    });
  }

  /** A list of `issuer` for proxies, as PEM. Rejects as `list` does. */
  async pushed(issuer: AnyIssuer): Promise<string> {
    const now = this.#clock.now();
    return this.#sign(issuer, now - PUSHED_BACKDATE_MS, issuer.certificate.notAfter, false);
  }

  /** The list of `issuer`. Rejects with `unavailable` when its number cannot be recorded or the key not reached, `invalid-argument` when the issuer may sign none. */
  async list(issuer: AnyIssuer): Promise<AuthorityList> {
    const now = this.#clock.now();
    const known = this.#signed.get(issuer);
    if (known !== undefined && now < known.renewAt) return known;
    const changes = this.#changes;
    const signed = { authority: issuer.keyId, pem: await this.#sign(issuer, now, now + LIFE_MS, true), renewAt: now + LIFE_MS / 2 };
    // What was revoked while it was signed is in the next one.
    if (changes === this.#changes) this.#signed.set(issuer, signed);
    return signed;
  }

  /** Without reasons, which no proxy looks at, it is a third shorter. */
  async #sign(issuer: AnyIssuer, thisUpdate: number, nextUpdate: number, reasons: boolean): Promise<string> {
    const number = this.#revocations.nextListNumber();
    const records = this.#revocations.listed(this.#clock.now());
    const revoked = reasons ? records : records.map((record) => ({ ...record, reason: "unspecified" as const }));
    return formatPem("X509 CRL", await issuer.certifyRevocationList({ number, thisUpdate, nextUpdate, revoked }));
  }
}
