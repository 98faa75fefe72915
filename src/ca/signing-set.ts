/** What a CA signs with at one time, checked as a whole: its key, the certificates above it, and the roots that everybody trusts. */
import type { KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import { type Certificate, certificateDigest, publicKeyOf } from "../x509/certificate.ts";
import { verifyIssuer } from "../x509/chain.ts";
import { type AnyIssuer, Issuer } from "../x509/issuer.ts";
import { verifySigned } from "../x509/signed.ts";
import type { Signer } from "../x509/signer.ts";

export interface SigningSet {
  readonly issuer: AnyIssuer;
  /** The issuer's certificate and those between it and its root, in this order; empty where the issuer is a root. */
  readonly intermediates: readonly Certificate[];
  /** The root that the issuer's path ends in. */
  readonly root: Certificate;
  /** All trusted roots, that one among them. */
  readonly roots: readonly Certificate[];
}

export interface SigningMaterial {
  readonly certificate: Certificate;
  readonly key: KeyObject | Signer;
  /** In any order. */
  readonly intermediates: readonly Certificate[];
  readonly roots: readonly Certificate[];
}

/** Verifiers of TLS libraries end a path at self-signed certificates only. Throws `invalid-configuration`. */
export function checkRoot(root: Certificate): void {
  const selfSigned = Buffer.compare(root.subject, root.issuer) === 0 && verifySigned(root.signed, publicKeyOf(root));
  if (!selfSigned) throw new AppError("invalid-configuration", "a root certificate is not signed by its own key");
}

function invalid(error: unknown): AppError {
  const { message, help } = AppError.from(error);
  return new AppError("invalid-configuration", message, help === undefined ? { cause: error } : { help, cause: error });
}

/**
 * Throws `invalid-configuration` unless the key and the certificate belong together, the certificate may sign leaves for clients and servers,
 * and leads to one of the roots, all valid at `now` (milliseconds).
 */
export function makeSigningSet({ certificate, key, intermediates, roots }: SigningMaterial, now: number): SigningSet {
  try {
    for (const root of roots) checkRoot(root);
    const path = verifyIssuer(certificate, { intermediates, roots, time: now });
    const root = path.at(-1) ?? certificate;
    return { issuer: new Issuer<KeyObject | Signer>(certificate, key, path.slice(1)), intermediates: path.slice(0, -1), root, roots };
  } catch (error) {
    throw invalid(error);
  }
}

/** Whether every certificate of `some` is among `all`. */
export function areAmong(some: readonly Certificate[], all: readonly Certificate[]): boolean {
  const known = new Set(all.map(certificateDigest));
  return some.every((certificate) => known.has(certificateDigest(certificate)));
}
