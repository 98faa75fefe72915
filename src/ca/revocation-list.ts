/** The CA's list of revoked certificates, signed anew when it changes or half of its life is over. */
import type { Clock } from "../core/clock.ts";
import type { Issuer } from "../x509/issuer.ts";
import { formatPem } from "../x509/pem.ts";
import type { Revocations } from "./revocations.ts";

/**
 * Longer than a workload's certificate lives (a day by default): while the control plane is away, an old list must not be what ends
 * connections. Verifiers refuse everything once a list is out of date.
 */
const LIFE_MS = 7 * 24 * 3600 * 1000;

interface SignedList {
  readonly pem: string;
  readonly issuer: Issuer;
  readonly renewAt: number;
}

export class RevocationListSigner {
  readonly #revocations: Revocations;
  readonly #clock: Clock;
  #signed: SignedList | undefined;

  constructor(revocations: Revocations, clock: Clock) {
    this.#revocations = revocations;
    this.#clock = clock;
    revocations.onChange(() => {
      this.#signed = undefined;
    });
  }

  /** The list of `issuer` as PEM. Throws `unavailable` when its number cannot be recorded, `invalid-argument` when the issuer may sign none. */
  list(issuer: Issuer): string {
    const now = this.#clock.now();
    if (this.#signed !== undefined && this.#signed.issuer === issuer && now < this.#signed.renewAt) return this.#signed.pem;
    const der = issuer.signRevocationList({
      number: this.#revocations.nextListNumber(),
      thisUpdate: now,
      nextUpdate: now + LIFE_MS,
      revoked: this.#revocations.certificates(now),
    });
    this.#signed = { pem: formatPem("X509 CRL", der), issuer, renewAt: now + LIFE_MS / 2 };
    return this.#signed.pem;
  }
}
