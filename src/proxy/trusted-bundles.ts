/** Roots by trust domain: each verifies identities of its own domain alone, which OpenSSL, with one heap of roots, does not know. */
import type { X509Certificate } from "node:crypto";
import type { DetailedPeerCertificate, PeerCertificate } from "node:tls";
import { AppError } from "../core/error.ts";
import { type Certificate, parseCertificate, parseCertificates } from "../x509/certificate.ts";
import { type Purpose, verifyPath } from "../x509/chain.ts";
import { peerOf } from "./peer-certificate.ts";

/** PEM by trust domain. */
export type TrustedBundles = ReadonlyMap<string, string>;

/** DER, as the peer sent them; TLS may have put the root at the end. */
export interface PresentedChain {
  readonly leaf: Uint8Array;
  readonly others: readonly Uint8Array[];
}

const MAX_OTHERS = 8;

/** As Node tells of a server to `checkServerIdentity`. */
export function chainOfServer(certificate: PeerCertificate): PresentedChain {
  const others: Uint8Array[] = [];
  let last: Partial<DetailedPeerCertificate> = certificate;
  while (last.issuerCertificate !== undefined && last.issuerCertificate !== last && others.length < MAX_OTHERS) {
    last = last.issuerCertificate;
    if (last.raw !== undefined) others.push(last.raw);
  }
  return { leaf: certificate.raw, others };
}

/** As Node tells of a client. */
export function chainOfClient(certificate: X509Certificate): PresentedChain {
  const others: Uint8Array[] = [];
  let issuer = certificate.issuerCertificate;
  while (issuer !== undefined && others.length < MAX_OTHERS) {
    others.push(issuer.raw);
    issuer = issuer.issuerCertificate;
  }
  return { leaf: certificate.raw, others };
}

/** Bundles change seldom, and every handshake asks: the roots of each domain are parsed once. */
const parsedRoots = new WeakMap<TrustedBundles, Map<string, readonly Certificate[]>>();

function rootsOf(bundles: TrustedBundles, trustDomain: string): readonly Certificate[] | undefined {
  const known = parsedRoots.get(bundles) ?? new Map<string, readonly Certificate[]>();
  parsedRoots.set(bundles, known);
  const pem = bundles.get(trustDomain);
  const roots = known.get(trustDomain) ?? (pem === undefined ? undefined : parseCertificates(pem));
  if (roots !== undefined) known.set(trustDomain, roots);
  return roots;
}

/** Throws `unauthenticated` for a chain that does not lead to a root of the domain that its leaf names. */
export function checkDomain({ leaf, others }: PresentedChain, bundles: TrustedBundles, purpose: Purpose): void {
  const [, trustDomain = ""] = /^spiffe:\/\/([^/]+)\//.exec(peerOf(leaf).identity) ?? [];
  const roots = rootsOf(bundles, trustDomain);
  if (roots === undefined) throw new AppError("unauthenticated", "the peer's trust domain has no roots here");
  try {
    const trusted = { roots, intermediates: others.map(parseCertificate), time: Date.now() };
    verifyPath({ leaf: parseCertificate(leaf), purpose, ...trusted });
  } catch (thrown) {
    const { message } = AppError.from(thrown);
    throw new AppError("unauthenticated", `the peer's certificate is not of its trust domain's CA: ${message}`, { cause: thrown });
  }
}
