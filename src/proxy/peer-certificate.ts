/** Who the other end of a verified TLS connection is. */
import { AppError } from "../core/error.ts";
import { type Certificate, certificateDigest, parseCertificate } from "../x509/certificate.ts";

export interface Peer {
  /** A SPIFFE ID. */
  readonly identity: string;
  /** SHA-256 of the certificate, in hex. */
  readonly digest: string;
  /** DER. */
  readonly certificate: Uint8Array;
}

function onlyUri(certificate: Certificate): string {
  const [uri, ...others] = certificate.names.filter((name) => name.kind === "uri");
  if (uri === undefined || others.length > 0) throw new AppError("unauthenticated", "the certificate does not have exactly one URI name");
  return uri.value;
}

/**
 * The identity in a certificate that TLS has already verified up to a root, read from its bytes: exactly one URI name
 * (SPIFFE X509-SVID §2). Throws `unauthenticated`.
 */
export function peerOf(der: Uint8Array): Peer {
  try {
    const certificate = parseCertificate(der);
    return { identity: onlyUri(certificate), digest: certificateDigest(certificate), certificate: der };
  } catch (thrown) {
    const { message } = AppError.from(thrown);
    throw new AppError("unauthenticated", message, { cause: thrown });
  }
}

/** Whether an identity is of one of the trust domains (Istio XD-4). */
export function isOfTrustDomains(identity: string, trustDomains: readonly string[]): boolean {
  return trustDomains.some((trustDomain) => identity.startsWith(`spiffe://${trustDomain}/`));
}
