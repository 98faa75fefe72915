/** From a leaf to a trusted root (RFC 5280 §6.1, SPIFFE X509-SVID §5). What this verifier does not understand, it refuses. */
import { AppError } from "../core/error.ts";
import type { SpiffeId } from "../identity/spiffe-id.ts";
import { type Certificate, publicKeyOf, svidIdentity } from "./certificate.ts";
import { KEY_USAGE } from "./extensions.ts";
import { OID } from "./oids.ts";
import { verifySigned } from "./signed.ts";

/** What the leaf's holder was in the handshake. */
export type Purpose = "client" | "server";

export interface ChainInput {
  readonly leaf: Certificate;
  /** As the peer sent them, in any order; none is trusted. */
  readonly intermediates: readonly Certificate[];
  readonly roots: readonly Certificate[];
  /** Milliseconds. */
  readonly time: number;
  readonly purpose: Purpose;
}

export interface VerifiedChain {
  readonly identity: SpiffeId;
  /** Leaf first, root last. */
  readonly path: readonly Certificate[];
}

const PURPOSE_ID = { client: OID.clientAuth.hex, server: OID.serverAuth.hex } as const satisfies Record<Purpose, string>;
/** Bounds on what a peer's heap of look-alike certificates may cost. */
const MAX_PATH = 6;
const MAX_SIGNATURES = 16;

function refuse(why: string, cause?: unknown): AppError {
  return new AppError("unauthenticated", why, { cause });
}

/** What holds for every certificate of a path. */
interface PathRules extends Pick<ChainInput, "intermediates" | "roots" | "time"> {
  /** Each must be allowed. */
  readonly purposes: readonly Purpose[];
  /** How many CA certificates the path begins with below its first issuer: 0 for a leaf, 1 for a CA. */
  readonly below: 0 | 1;
}

/** Why `certificate` may have no place in a path at all; undefined when it may. */
function flawOf(certificate: Certificate, { time, purposes }: PathRules): string | undefined {
  if (time < certificate.notBefore) return "is not valid yet";
  if (time > certificate.notAfter) return "has expired";
  if (certificate.unprocessed.length > 0) return "has an extension that must be processed and is not supported";
  const missing = purposes.find((purpose) => certificate.extendedKeyUsage?.includes(PURPOSE_ID[purpose]) === false);
  return missing === undefined ? undefined : `is not meant for a ${missing}`;
}

/** SPIFFE X509-SVID §5.2. */
function leafFlaw(leaf: Certificate, input: PathRules): string | undefined {
  if (leaf.isCa) return "is a CA's";
  const usage = leaf.keyUsage ?? 0;
  if ((usage & KEY_USAGE.digitalSignature) === 0) return "has no key usage `digitalSignature`";
  if ((usage & (KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign)) !== 0) return "may sign certificates or revocation lists";
  return flawOf(leaf, input);
}

/** `below` counts the CA certificates between the issuer and the leaf. */
function issuerFlaw(issuer: Certificate, below: number, input: PathRules): string | undefined {
  if (!issuer.isCa) return "is not a CA's";
  if (((issuer.keyUsage ?? 0) & KEY_USAGE.keyCertSign) === 0) return "has no key usage `keyCertSign`";
  if (issuer.pathLength !== undefined && issuer.pathLength < below) return "allows fewer CA certificates below it";
  return flawOf(issuer, input);
}

/** Whether the names and key identifiers say so (RFC 5280 §4.2.1.1); the signature has the last word. */
function claimsToIssue(issuer: Certificate, subject: Certificate): boolean {
  const { authorityKeyId } = subject;
  const keysAgree = authorityKeyId === undefined || issuer.subjectKeyId === undefined || authorityKeyId === issuer.subjectKeyId;
  return keysAgree && Buffer.compare(issuer.subject, subject.issuer) === 0;
}

/** Looks for a path depth first: several issuers may have one name, and one of them may be the right one. */
class PathSearch {
  readonly #input: PathRules;
  #signatures = 0;
  #flaw: string | undefined;

  constructor(input: PathRules) {
    this.#input = input;
  }

  /** Why there is no path, as far as the last candidate tells. */
  get reason(): string {
    return this.#flaw ?? "no trusted root has issued the certificate";
  }

  /** `path` extended to a root; undefined when there is no way. */
  from(path: readonly Certificate[]): readonly Certificate[] | undefined {
    const last = path.at(-1);
    if (last === undefined || path.length >= MAX_PATH) return undefined;
    const root = this.#input.roots.find((candidate) => this.#issued(candidate, last, path));
    if (root !== undefined) return [...path, root];
    for (const candidate of this.#input.intermediates) {
      if (path.includes(candidate) || !this.#issued(candidate, last, path)) continue;
      const found = this.from([...path, candidate]);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #issued(issuer: Certificate, subject: Certificate, path: readonly Certificate[]): boolean {
    if (!claimsToIssue(issuer, subject)) return false;
    const flaw = issuerFlaw(issuer, path.length - 1 + this.#input.below, this.#input) ?? this.#signatureFlaw(issuer, subject);
    this.#flaw = flaw === undefined ? undefined : `an issuer's certificate ${flaw}`;
    return flaw === undefined;
  }

  #signatureFlaw(issuer: Certificate, subject: Certificate): string | undefined {
    if (this.#signatures++ >= MAX_SIGNATURES) throw refuse("the certificate has too many possible issuers");
    try {
      return verifySigned(subject.signed, publicKeyOf(issuer)) ? undefined : "did not sign the one below it";
    } catch (error) {
      return `cannot be used: ${AppError.from(error).message}`;
    }
  }
}

function leafIdentity(leaf: Certificate): SpiffeId {
  try {
    return svidIdentity(leaf);
  } catch (error) {
    throw refuse(AppError.from(error).message, error);
  }
}

/**
 * The leaf's identity and its path to one of `roots`: signatures, names and key identifiers, validity, CA flags, key usage,
 * path length, purpose, and exactly one URI name. Throws `unauthenticated` with the reason.
 */
export function verifyChain(input: ChainInput): VerifiedChain {
  const path = verifyPath(input);
  return { identity: leafIdentity(input.leaf), path };
}

/** The same of a leaf whose name is not looked at, since its domain may form its names as it likes. Leaf first, root last. Throws `unauthenticated` with the reason. */
export function verifyPath({ leaf, purpose, ...rest }: ChainInput): readonly Certificate[] {
  const input = { ...rest, purposes: [purpose], below: 0 } as const;
  const flaw = leafFlaw(leaf, input);
  if (flaw !== undefined) throw refuse(`the certificate ${flaw}`);
  const search = new PathSearch(input);
  const path = search.from([leaf]);
  if (path === undefined) throw refuse(search.reason);
  return path;
}

/**
 * The path of a CA's own certificate, itself first and its root last, over which the leaves that it signs will be good for
 * clients and servers alike. Throws `unauthenticated` with the reason.
 */
export function verifyIssuer(issuer: Certificate, trust: Pick<ChainInput, "intermediates" | "roots" | "time">): readonly Certificate[] {
  const input = { ...trust, purposes: ["client", "server"], below: 1 } as const;
  const flaw = issuerFlaw(issuer, 0, input);
  if (flaw !== undefined) throw refuse(`the CA's certificate ${flaw}`);
  if (trust.roots.some(({ der }) => Buffer.compare(der, issuer.der) === 0)) return [issuer];
  const search = new PathSearch(input);
  const path = search.from([issuer]);
  if (path === undefined) throw refuse(search.reason);
  return path;
}
