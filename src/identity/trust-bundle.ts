/** What verifies the certificates and tokens of trust domains (SPIFFE Trust Domain and Bundle §3, §4). */
import type { TrustDomain } from "./trust-domain.ts";

export interface TrustBundle {
  /** Roots of X.509-SVIDs as PEM. */
  readonly roots: string;
  /** A JSON Web Key Set with the keys of JWT-SVIDs; empty where there are none. */
  readonly jwks: string;
  /** Grows with each change. */
  readonly sequence: number;
  /** How long a copy may be used before it is asked for again. */
  readonly refreshHintSeconds: number;
}

/** The workload's own trust domain, and those that it federates with. A root verifies identities of its own domain alone. */
export type TrustBundles = ReadonlyMap<TrustDomain, TrustBundle>;
