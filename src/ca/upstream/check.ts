/** Whether what another CA answers is the certificate that was asked for: looked at as strictly as what is signed here. */
import { AppError } from "../../core/error.ts";
import { type Certificate, parseCertificates } from "../../x509/certificate.ts";
import { verifyChain } from "../../x509/chain.ts";
import { foreignFlaw } from "../../x509/lints/all.ts";

export interface Expected {
  /** SubjectPublicKeyInfo of the request. */
  readonly spki: Uint8Array;
  readonly uri: string;
  /** Milliseconds: what was asked for. */
  readonly notAfter: number;
  readonly roots: readonly Certificate[];
  readonly now: number;
}

export interface CheckedChain {
  readonly leaf: Certificate;
  /** From the leaf's issuer up, without the root. */
  readonly intermediates: readonly Certificate[];
  /** What signed it, and when the first certificate above it expires. */
  readonly issuer: Certificate;
  readonly issuerValidUntil: number;
}

const MAX_CERTIFICATES = 10;
const MAX_PEM = 64 * 1024;
/** Between this clock and the other CA's. */
const CLOCKS_MS = 5 * 60_000;
/** A certificate that began earlier was not made for this request. */
const OLDEST_MS = 60 * 60_000;
/** What lives shorter than this would be over before it is renewed. */
const LEAST_LIFE_MS = 60_000;

function refuse(why: string, cause?: unknown): AppError {
  return new AppError("unavailable", `the other CA's answer is refused: ${why}`, { cause });
}

function parse(pems: readonly string[]): readonly Certificate[] {
  const text = pems.join("\n");
  if (text.length > MAX_PEM) throw refuse(`it is longer than ${MAX_PEM} bytes`);
  try {
    return parseCertificates(text);
  } catch (cause) {
    throw refuse(AppError.from(cause).message, cause);
  }
}

function checkLife(leaf: Certificate, { now, notAfter }: Expected): void {
  if (leaf.notAfter > notAfter + CLOCKS_MS) throw refuse("the certificate lives longer than what was asked for");
  if (leaf.notAfter < now + LEAST_LIFE_MS) throw refuse("the certificate lives less than a minute");
  if (leaf.notBefore < now - OLDEST_MS) throw refuse("the certificate was made long before it was asked for");
}

function checkLeaf(leaf: Certificate, expected: Expected): void {
  if (Buffer.compare(leaf.spki, expected.spki) !== 0) throw refuse("the certificate has another key than the request");
  const [name, ...others] = leaf.names;
  if (name?.kind !== "uri" || name.value !== expected.uri || others.length > 0)
    throw refuse("the certificate has other names than the one identity that was asked for");
  checkLife(leaf, expected);
}

/** As its own clients and servers will look at it. */
function pathOf(leaf: Certificate, intermediates: readonly Certificate[], { roots, now }: Expected): readonly Certificate[] {
  try {
    const chain = { leaf, intermediates, roots, time: now };
    verifyChain({ ...chain, purpose: "server" });
    return verifyChain({ ...chain, purpose: "client" }).path;
  } catch (cause) {
    throw refuse(`the certificate ${AppError.from(cause).message}`, cause);
  }
}

/** Throws `unavailable` with the reason: nothing of such an answer is handed out. */
export function checkAnswer(pems: readonly string[], expected: Expected): CheckedChain {
  const [leaf, ...above] = parse(pems);
  if (leaf === undefined || above.length >= MAX_CERTIFICATES) throw refuse(`it has not 1 to ${MAX_CERTIFICATES} certificates`);
  checkLeaf(leaf, expected);
  const path = pathOf(leaf, above, expected);
  const issuer = path[1] ?? leaf;
  const issuerValidUntil = Math.min(...path.slice(1).map(({ notAfter }) => notAfter));
  const flaw = foreignFlaw(leaf, { issuer, issuerValidUntil });
  if (flaw !== undefined) throw refuse(flaw);
  return { leaf, intermediates: path.slice(1, -1), issuer, issuerValidUntil };
}
