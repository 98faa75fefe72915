/** What certificates and certificate requests have in common: `SEQUENCE { body, algorithm, signature }` (RFC 5280 §4.1, RFC 2986 §4.2). */
import { type KeyObject, sign, verify } from "node:crypto";
import { AppError } from "../core/error.ts";
import { openDer, TAG } from "./der-reader.ts";
import { bitString, sequence } from "./der-writer.ts";
import { OID } from "./oids.ts";

export interface Signed {
  /** Such as `certificate`, for messages. */
  readonly what: string;
  /** The whole first element: the very bytes that the signature covers. */
  readonly body: Uint8Array;
  /** The whole AlgorithmIdentifier. */
  readonly algorithm: Uint8Array;
  readonly signature: Uint8Array;
}

/** ecdsa-with-SHA256 has no parameters (RFC 5758 §3.2). */
export const SIGNATURE_ALGORITHM: Uint8Array = sequence(OID.ecdsaWithSha256.der);

/** Throws `invalid-argument`. */
export function readSigned(der: Uint8Array, what: string): Signed {
  const whole = openDer(der, what);
  const fields = whole.enter(TAG.sequence);
  whole.finish();
  const body = fields.element(TAG.sequence);
  const algorithm = fields.element(TAG.sequence);
  const bits = fields.content(TAG.bitString);
  if (bits[0] !== 0) throw fields.fail("has a signature that is not whole bytes");
  fields.finish();
  return { what, body, algorithm, signature: bits.subarray(1) };
}

/** The DER of `body` with its ECDSA signature with SHA-256. */
export function writeSigned(body: Uint8Array, key: KeyObject): Uint8Array {
  return sequence(body, SIGNATURE_ALGORITHM, bitString(sign("sha256", body, key)));
}

/** Whether `key` made the signature. Throws `invalid-argument` for any algorithm but ECDSA with SHA-256. */
export function verifySigned(signed: Signed, key: KeyObject): boolean {
  if (Buffer.compare(signed.algorithm, SIGNATURE_ALGORITHM) !== 0) {
    throw new AppError("invalid-argument", `the ${signed.what} is not signed with ECDSA and SHA-256`);
  }
  return verify("sha256", signed.body, key, signed.signature);
}
