/** Who holds a client certificate. It comes with each call of a connection, and what does not change meanwhile is verified with the first. */
import { AppError } from "../core/error.ts";
import { Recent } from "../core/recent.ts";
import type { SpiffeId } from "../identity/spiffe-id.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { verifyChain } from "../x509/chain.ts";
import type { TrustAnchors } from "./authority.ts";

/** A holder has some 4 KiB here. */
const MAX_KEPT = 1_024;

export interface CertificateHolder {
  readonly leaf: Certificate;
  readonly identity: SpiffeId;
}

/** Verified, by certificates that are all good from `notBefore` to `notAfter` (milliseconds, both within). */
interface Verified extends CertificateHolder {
  readonly notBefore: number;
  readonly notAfter: number;
}

/** What was verified by these intermediates, by the certificate's bytes. */
interface Kept {
  readonly intermediates: readonly Certificate[];
  readonly verified: Recent<string, Verified>;
}

/** Other roots or intermediates are other lists: nothing that was verified by the former is kept. */
const keptBy = new WeakMap<readonly Certificate[], Kept>();

function keptFor({ roots, intermediates }: TrustAnchors): Kept["verified"] {
  const found = keptBy.get(roots);
  if (found?.intermediates === intermediates) return found.verified;
  const verified = new Recent<string, Verified>(MAX_KEPT);
  keptBy.set(roots, { intermediates, verified });
  return verified;
}

function verify(leaf: Certificate, { roots, intermediates }: TrustAnchors, time: number): Verified {
  const { identity, path } = verifyChain({ leaf, roots, intermediates, time, purpose: "client" });
  const notBefore = Math.max(...path.map((certificate) => certificate.notBefore));
  const notAfter = Math.min(...path.map((certificate) => certificate.notAfter));
  return { leaf, identity, notBefore, notAfter };
}

/**
 * The holder of a certificate (DER) that is good at `time` (milliseconds): whether it is revoked and of the right time is looked at always, its path to a root once as
 * long as roots and intermediates are the same. Throws `invalid-argument` for what is no certificate, `unauthenticated` for one that does not hold.
 */
export function holderOf(der: Uint8Array, trust: TrustAnchors, time: number): CertificateHolder {
  const kept = keptFor(trust);
  const key = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("latin1");
  const known = kept.get(key);
  const leaf = known?.leaf ?? parseCertificate(der);
  if (trust.isRevoked(leaf.serial)) throw new AppError("unauthenticated", "the certificate is revoked");
  if (known !== undefined && known.notBefore <= time && time <= known.notAfter) return known;
  const verified = verify(leaf, trust, time);
  kept.set(key, verified);
  return verified;
}
