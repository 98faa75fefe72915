/** What certificates, certificate requests and revocation lists have in common: `SEQUENCE { body, algorithm, signature }` (RFC 5280 §4.1, RFC 2986 §4.2). */
import { type KeyObject, sign, verify } from "node:crypto";
import { promisify } from "node:util";
import { AppError } from "../core/error.ts";
import { openDer, TAG } from "./der-reader.ts";
import { bitString, sequence } from "./der-writer.ts";
import { SIGNATURE_ALGORITHMS, type SignatureAlgorithm, signatureAlgorithmOf } from "./key-kinds.ts";

/** On a thread of its own, so that whoever serves many callers goes on meanwhile. */
const signAside = promisify(sign);
const verifyAside = promisify(verify);

export interface Signed {
  /** Such as `certificate`, for messages. */
  readonly what: string;
  /** The whole first element: the very bytes that the signature covers. */
  readonly body: Uint8Array;
  /** The whole AlgorithmIdentifier. */
  readonly algorithm: Uint8Array;
  readonly signature: Uint8Array;
}

/** Throws `invalid-argument`, also for more than `maxBytes` where it is given. */
export function readSigned(der: Uint8Array, what: string, maxBytes?: number): Signed {
  const whole = openDer(der, what, maxBytes);
  const fields = whole.enter(TAG.sequence);
  whole.finish();
  const body = fields.element(TAG.sequence);
  const algorithm = fields.element(TAG.sequence);
  const bits = fields.content(TAG.bitString);
  if (bits[0] !== 0) throw fields.fail("has a signature that is not whole bytes");
  fields.finish();
  return { what, body, algorithm, signature: bits.subarray(1) };
}

/** The DER of `body` with its signature, by the algorithm of the key's kind. Throws `invalid-argument` for a kind that does not sign here. */
export function writeSigned(body: Uint8Array, key: KeyObject): Uint8Array {
  const algorithm = signatureAlgorithmOf(key);
  return assembleSigned(body, algorithm, sign(algorithm.hash, body, key));
}

/** The same by the algorithm of the key's kind, which whoever signs often has looked up once; made on another thread. */
export async function writeSignedAside(body: Uint8Array, key: KeyObject, algorithm: SignatureAlgorithm): Promise<Uint8Array> {
  return assembleSigned(body, algorithm, await signAside(algorithm.hash, body, key));
}

/** The DER of `body` with a signature that was made of it. */
export function assembleSigned(body: Uint8Array, { identifier }: SignatureAlgorithm, signature: Uint8Array): Uint8Array {
  return sequence(body, identifier, bitString(signature));
}

function algorithmOf(signed: Signed): SignatureAlgorithm {
  const algorithm = SIGNATURE_ALGORITHMS.find(({ identifier }) => Buffer.compare(signed.algorithm, identifier) === 0);
  if (algorithm !== undefined) return algorithm;
  throw new AppError("invalid-argument", `the ${signed.what} is not signed with ECDSA, RSA (PKCS #1 v1.5) or Ed25519 and SHA-2`);
}

/** Whether `key` made the signature. Throws `invalid-argument` for an algorithm that is not accepted, such as those with SHA-1. */
export function verifySigned(signed: Signed, key: KeyObject): boolean {
  const { keyType, hash } = algorithmOf(signed);
  return keyType === key.asymmetricKeyType && verify(hash, signed.body, key, signed.signature);
}

/** The same, found on another thread. */
export async function verifySignedAside(signed: Signed, key: KeyObject): Promise<boolean> {
  const { keyType, hash } = algorithmOf(signed);
  return keyType === key.asymmetricKeyType && (await verifyAside(hash, signed.body, key, signed.signature));
}
