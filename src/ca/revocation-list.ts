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

  /** The list of `issuer`. Rejects with `unavailable` when its number cannot be recorded or the key not reached, `invalid-argument` when the issuer may sign none. */
  async list(issuer: AnyIssuer): Promise<AuthorityList> {
    const now = this.#clock.now();
    const known = this.#signed.get(issuer);
    if (known !== undefined && now < known.renewAt) return known;
    const changes = this.#changes;
    const der = await issuer.certifyRevocationList({
      number: this.#revocations.nextListNumber(),
      thisUpdate: now,
      nextUpdate: now + LIFE_MS,
      revoked: this.#revocations.certificates(now),
    });
    const signed = { authority: issuer.keyId, pem: formatPem("X509 CRL", der), renewAt: now + LIFE_MS / 2 };
    // What was revoked while it was signed is in the next one.
    if (changes === this.#changes) this.#signed.set(issuer, signed);
    return signed;
  }
}
