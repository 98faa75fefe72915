/** Subject public keys: P-256 and nothing else, in the one form DER has for it (RFC 5480 §2). */
import { createPublicKey, hash, type KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import { type DerReader, openDer, TAG } from "./der-reader.ts";
import { sequence } from "./der-writer.ts";
import { hexOf } from "./hex.ts";
import { keyName, OID } from "./oids.ts";

/** Everything before the 64 bytes of the point: the algorithm, the bit string's header, 0x04 for "uncompressed". */
const PREFIX = Buffer.concat([
  Buffer.from("3059", "hex"),
  sequence(OID.ecPublicKey.der, OID.prime256v1.der),
  Buffer.from("03420004", "hex"),
]);
const SPKI_LENGTH = PREFIX.length + 64;

function unsupported(name: string): AppError {
  return new AppError("invalid-argument", `the public key is ${name}; only P-256 is accepted`, {
    help: "make an ECDSA key on the curve P-256",
  });
}

function refusalOf(spki: DerReader): AppError {
  const algorithm = spki.enter(TAG.sequence).enter(TAG.sequence);
  const type = hexOf(algorithm.content(TAG.oid));
  if (type !== OID.ecPublicKey.hex) return unsupported(keyName(type));
  if (algorithm.peek() !== TAG.oid) return unsupported("on a curve given by its parameters");
  const curve = hexOf(algorithm.content(TAG.oid));
  return unsupported(curve === OID.prime256v1.hex ? "not an uncompressed point" : keyName(curve));
}

/** The key in a SubjectPublicKeyInfo. Throws `invalid-argument` for any other kind of key, by name, and for a point that is not on the curve. */
export function parsePublicKey(spki: Uint8Array): KeyObject {
  if (spki.length !== SPKI_LENGTH || PREFIX.compare(spki, 0, PREFIX.length) !== 0) throw refusalOf(openDer(spki, "public key"));
  try {
    return createPublicKey({ key: Buffer.from(spki.buffer, spki.byteOffset, spki.byteLength), format: "der", type: "spki" });
  } catch (cause) {
    throw new AppError("invalid-argument", "the public key is not a point of P-256", { cause });
  }
}

/** The key identifier of an accepted key: the first 160 bits of the SHA-256 of its point (RFC 7093 §2, method 1). */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  return hash("sha256", spki.subarray(PREFIX.length - 1), "buffer").subarray(0, 20);
}
