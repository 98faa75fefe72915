/** The workload's certificate, and the check that what a CA answered is one: nothing unchecked reaches the proxy. */
import type { KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { type Certificate, parseCertificates } from "../x509/certificate.ts";
import { verifyChain } from "../x509/chain.ts";
import { spkiOf } from "../x509/csr-builder.ts";

export interface IssuedCertificate {
  /** Of the kind that the agent was told; stays in this process and its proxy's. */
  readonly privateKey: KeyObject;
  /** PEM, leaf first, then each intermediate. */
  readonly chain: string;
  /** PEM: the roots that peers are checked against. */
  readonly roots: string;
  /** PEM of the roots of other trust domains, by their names; each verifies identities of its own domain alone. Absent where there are none. */
  readonly otherRoots?: ReadonlyMap<string, string>;
  /** PEM of lists that name revoked certificates of the own trust domain's servers, one of each of its CAs. Absent where there are none. */
  readonly revocationLists?: string;
  /** A SPIFFE ID. */
  readonly identity: string;
  /** Lower-case hex. */
  readonly serial: string;
  /** Milliseconds since the epoch. */
  readonly notBefore: number;
  readonly notAfter: number;
}

/** PKCS#8 in PEM, for the proxy and for this process's own TLS. */
export function exportKey(privateKey: KeyObject): string {
  return privateKey.export({ type: "pkcs8", format: "pem" }).toString();
}

export interface CertificateAnswerInput {
  /** `cert_chain`: leaf, each intermediate, the root bundle last; PEM (CA-2). */
  readonly elements: readonly string[];
  readonly privateKey: KeyObject;
  /** The SPIFFE ID that was asked for. */
  readonly identity: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** A root bundle and a few intermediates. */
const MAX_ELEMENTS = 16;

function refuse(why: string, cause?: unknown, help?: string): AppError {
  const options = { cause, ...(help === undefined ? {} : { help }) };
  return new AppError("permission-denied", `the control plane's certificate is refused: ${why}`, options);
}

/** The chain and the bundle apart (AG-3). */
function splitAnswer(elements: readonly string[]): { readonly chain: readonly Certificate[]; readonly roots: readonly Certificate[] } {
  if (elements.length < 2 || elements.length > MAX_ELEMENTS)
    throw refuse(`the answer has ${elements.length} elements, and 2 to ${MAX_ELEMENTS} belong there`);
  try {
    return { chain: elements.slice(0, -1).flatMap(parseCertificates), roots: parseCertificates(elements.at(-1) ?? "") };
  } catch (cause) {
    throw refuse(AppError.from(cause).message, cause);
  }
}

function checkTimes({ notBefore, notAfter }: Certificate, now: number): void {
  const help = "compare the clocks of this machine and of the control plane";
  if (now < notBefore) throw refuse(`it is not valid before ${new Date(notBefore).toISOString()}`, undefined, help);
  if (now >= notAfter) throw refuse(`it expired at ${new Date(notAfter).toISOString()}`, undefined, help);
}

function checkChain(leaf: Certificate, intermediates: readonly Certificate[], roots: readonly Certificate[], time: number): string {
  try {
    verifyChain({ leaf, intermediates, roots, time, purpose: "client" });
    return formatSpiffeId(verifyChain({ leaf, intermediates, roots, time, purpose: "server" }).identity);
  } catch (cause) {
    throw refuse(AppError.from(cause).message, cause);
  }
}

/**
 * A CA's answer as the workload's certificate: the leaf is for this key, carries exactly this identity, is valid now,
 * and leads to the roots that came with it, for both sides of a connection. Throws `permission-denied` with the reason.
 */
export function checkIssuedCertificate({ elements, privateKey, identity, now }: CertificateAnswerInput): IssuedCertificate {
  const { chain, roots } = splitAnswer(elements);
  const [leaf, ...intermediates] = chain;
  if (leaf === undefined) throw refuse("the answer has no leaf");
  if (Buffer.compare(leaf.spki, spkiOf(privateKey)) !== 0) throw refuse("it is for another key than this agent's");
  checkTimes(leaf, now);
  const certified = checkChain(leaf, intermediates, roots, now);
  if (certified !== identity) throw refuse(`it is for \`${certified}\` and not for \`${identity}\``);
  return {
    privateKey,
    chain: elements.slice(0, -1).map(withNewline).join(""),
    roots: withNewline(elements.at(-1) ?? ""),
    identity,
    serial: leaf.serial,
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
  };
}

/** Whether the certificate leads to the roots of this moment. */
export function leadsToRoots({ chain, roots }: IssuedCertificate, time: number): boolean {
  const [leaf, ...intermediates] = parseCertificates(chain);
  if (leaf === undefined) return false;
  try {
    verifyChain({ leaf, intermediates, roots: parseCertificates(roots), time, purpose: "client" });
    return true;
  } catch {
    return false;
  }
}

const withNewline = (pem: string) => (pem.endsWith("\n") ? pem : `${pem}\n`);
