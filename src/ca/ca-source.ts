/** Where an authority's certificates come from, and what it certifies with at one time. */
import type { Certificate } from "../x509/certificate.ts";
import type { AnyIssuer } from "../x509/issuer.ts";
import { keyKindOf } from "../x509/public-key.ts";
import type { Certifier } from "./certifier.ts";
import type { SigningSet } from "./signing-set.ts";

/** What an authority certifies with at one time. */
export interface Certification {
  readonly certifier: Certifier;
  /** Of the control plane's own certificate; the same without. */
  readonly serving?: Certifier;
  /** Signs lists of revoked certificates; undefined where another CA signs. */
  readonly issuer: AnyIssuer | undefined;
  /** Of the other authorities, whose certificates live on: each signs lists too. */
  readonly others?: readonly AnyIssuer[];
  /** Those that are known before a certificate is made. */
  readonly intermediates: readonly Certificate[];
  /** All trusted roots. */
  readonly roots: readonly Certificate[];
  /** What it tells of itself; without a signer as long as another CA has certified nothing. */
  readonly signer: SignerStatus | undefined;
}

export interface SignerStatus {
  readonly keyKind: string;
  /** Of the certificate that signs; lower-case hex. */
  readonly serial: string;
  /** When it or one above it expires, in milliseconds. */
  readonly notAfter: number;
}

export interface CaSource {
  /** `own`, or what the CA is read from or asked at. */
  readonly name: string;
  readonly current: Certification;
  /** Why what is there now is not in force, or does not work. */
  readonly problem: string | undefined;
  /** Calls `listener` with each change after the first. */
  follow(listener: (current: Certification) => void): void;
  close(): void;
}

/** Certifies with a signing set. */
export function certificationOf(set: SigningSet): Certification {
  const { issuer, intermediates, roots } = set;
  const certifier: Certifier = {
    prepare(profile, order) {
      const prepared = issuer.prepare(profile, order);
      return { ...prepared, certify: async () => ({ leaf: await issuer.certify(prepared), intermediates }) };
    },
  };
  const { serial, spki } = issuer.certificate;
  const signer = { keyKind: keyKindOf(spki).name, serial, notAfter: issuer.validUntil };
  return { certifier, issuer, intermediates, roots, signer };
}

/** A source that never changes. */
export function fixedSource(name: string, set: SigningSet): CaSource {
  return { name, current: certificationOf(set), problem: undefined, follow: () => undefined, close: () => undefined };
}
