/** Keys of a token as certificates have them: public keys, what is signed, and signatures (PKCS #11 v2.40 §2.1, §2.3). */
import { createPublicKey, hash } from "node:crypto";
import { AppError } from "../../core/error.ts";
import { openDer, TAG } from "../../x509/der-reader.ts";
import { bitString, NULL, sequence, unsignedInteger } from "../../x509/der-writer.ts";
import { signatureAlgorithmOf } from "../../x509/key-kinds.ts";
import { OID } from "../../x509/oids.ts";
import { keyKindOf } from "../../x509/public-key.ts";
import type { TokenKeyKind } from "./messages.ts";

/** PKCS #11 v2.40 §2.3.3: the point is the content of an OCTET STRING; some tokens leave that out. */
export function ecSpki(parameters: Uint8Array, point: Uint8Array): Uint8Array {
  const raw =
    point[0] === TAG.octetString && point.length % 2 === 1 && point[1] === point.length - 2
      ? openDer(point, "EC point").content(TAG.octetString)
      : point;
  return sequence(sequence(OID.ecPublicKey.der, parameters), bitString(raw));
}

function withoutZeros(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0);
  return bytes.subarray(Math.max(0, first));
}

export function rsaSpki(modulus: Uint8Array, exponent: Uint8Array): Uint8Array {
  const key = sequence(unsignedInteger(withoutZeros(modulus)), unsignedInteger(withoutZeros(exponent)));
  return sequence(sequence(OID.rsaEncryption.der, NULL), bitString(key));
}

/** The parameters by which a token makes a key on a curve. */
export const CURVE_PARAMETERS = { "P-256": OID.prime256v1.der, "P-384": OID.secp384r1.der } as const satisfies Record<
  Exclude<TokenKeyKind, "RSA">,
  Uint8Array
>;

/** RFC 8017 §9.2: a DigestInfo of SHA-256 before the hash. */
const SHA256_INFO = Buffer.from("3031300d060960864801650304020105000420", "hex");

/** How a token signs with a key. */
export interface SigningForm {
  readonly mechanism: "ecdsa" | "rsa";
  /** What the token is given for `body`: its hash, as the mechanism wants it. */
  input(body: Uint8Array): Buffer;
  /** What certificates have of what the token answers. */
  signature(answer: Uint8Array): Uint8Array;
}

/** PKCS #11 v2.40 §2.3.1: r and s, of one length. */
function ecdsaSignature(answer: Uint8Array): Uint8Array {
  const half = answer.length / 2;
  return sequence(...[answer.subarray(0, half), answer.subarray(half)].map((number) => unsignedInteger(withoutZeros(number))));
}

/** Throws `invalid-argument` for a key of a kind that signs nothing here. */
export function signingFormOf(spki: Uint8Array): SigningForm {
  const kind = keyKindOf(spki);
  const { hash: digest } = signatureAlgorithmOf(createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" }));
  if (digest === null) throw new AppError("invalid-argument", `the token's key is ${kind.name}; take P-256, P-384 or RSA`);
  const hashed = (body: Uint8Array) => hash(digest, body, "buffer");
  if (kind.name !== "RSA") return { mechanism: "ecdsa", input: hashed, signature: ecdsaSignature };
  return { mechanism: "rsa", input: (body) => Buffer.concat([SHA256_INFO, hashed(body)]), signature: (answer) => answer };
}
