/** Who besides this mesh may vouch for a workload, as the operator has written it down. */
import type { KeyObject } from "node:crypto";
import type { JwksSource } from "../../policy/model.ts";
import type { AccountRule } from "./account-mapping.ts";

/** An issuer of JSON Web Tokens. */
export interface TokenIssuerOutside {
  readonly kind: "oidc" | "gcp" | "kubernetes";
  /** The operator's name for it: in the log and the ledger. */
  readonly name: string;
  /** The claim `iss`, exactly. */
  readonly issuer: string;
  /** The claim `aud` must have one of them. */
  readonly audiences: readonly string[];
  readonly jwks: JwksSource;
  /** Of `oidc` and `gcp`. */
  readonly accounts: readonly AccountRule[];
  /** Of `kubernetes`: the namespaces whose accounts are taken over; undefined for all. */
  readonly namespaces: ReadonlySet<string> | undefined;
}

/** The identity documents of AWS instances. */
export interface AwsIssuer {
  readonly kind: "aws";
  readonly name: string;
  /** RSA keys of AWS, one for each region that counts. */
  readonly keys: readonly KeyObject[];
  /** How long after its instance was started a document counts. */
  readonly maxAgeMs: number;
  readonly accounts: readonly AccountRule[];
}

export type OutsideIssuer = TokenIssuerOutside | AwsIssuer;
