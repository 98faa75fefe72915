/** Who makes an authority's certificates: its own issuer, or another CA that it asks. */
import type { Certificate } from "../x509/certificate.ts";
import type { LeafRequest } from "../x509/issuer.ts";
import type { Profile, Validity } from "../x509/profile.ts";

/** A certificate request whose caller may have what it asks for. */
export interface Order extends LeafRequest {
  /** The certificate request as it came, in PEM. */
  readonly csr: string;
}

export interface Certified {
  readonly leaf: Certificate;
  /** From the leaf's issuer towards its root, which is not among them. */
  readonly intermediates: readonly Certificate[];
}

/** A certificate that can be made: what is recorded of it before it is, and how it is. */
export interface PreparedOrder extends Validity {
  /** Lower-case hex; undefined where another CA will choose it. */
  readonly serial?: string;
  /** The identifier of its public key, in hex. */
  readonly keyId: string;
  /** Certifies it, once. Rejects with an AppError. */
  certify(): Promise<Certified>;
}

export interface Certifier {
  /** Throws `invalid-argument` for what the profile does not allow, `unavailable` while nothing can be certified. Nothing has happened yet when it returns. */
  prepare(profile: Profile, order: Order): PreparedOrder;
}
