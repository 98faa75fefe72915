/** Subject public keys, each kind in the one form that DER has for it (RFC 5480 §2, RFC 3279 §2.3.1, RFC 8410 §4). */
import { createPublicKey, hash, type KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import { type DerReader, openDer, TAG } from "./der-reader.ts";
import { NULL, sequence } from "./der-writer.ts";
import { hexOf } from "./hex.ts";
import { KEY_KINDS, type KeyKind, unsupportedKey } from "./key-kinds.ts";
import { keyName, OID } from "./oids.ts";
import { checkRsaKey } from "./rsa-key.ts";

interface FixedForm {
  readonly kind: KeyKind;
  /** Everything before the key's own bytes: the outer header, the algorithm, the bit string's header, 0x04 for "uncompressed". */
  readonly prefix: Buffer;
  readonly length: number;
  /** Where the content of the bit string begins. */
  readonly keyStart: number;
}

function fixedForm(kind: KeyKind, outer: string, algorithm: Uint8Array, inner: string, keyBytes: number): FixedForm {
  const prefix = Buffer.concat([Buffer.from(outer, "hex"), algorithm, Buffer.from(inner, "hex")]);
  const uncompressed = kind.signature.keyType === "ec" ? 1 : 0;
  return { kind, prefix, length: prefix.length + keyBytes, keyStart: prefix.length - uncompressed };
}

/** Keys whose bytes always stand at the same place. */
const FIXED_FORMS: readonly FixedForm[] = [
  fixedForm(KEY_KINDS.p256, "3059", sequence(OID.ecPublicKey.der, OID.prime256v1.der), "03420004", 64),
  fixedForm(KEY_KINDS.p384, "3076", sequence(OID.ecPublicKey.der, OID.secp384r1.der), "03620004", 96),
  fixedForm(KEY_KINDS.ed25519, "302a", sequence(OID.ed25519.der), "032100", 32),
];
const RSA_ALGORITHM = sequence(OID.rsaEncryption.der, NULL);

/** Points of small order and their second spellings, without the sign bit: for these anybody makes signatures that verify. */
const SMALL_ORDER_POINTS: ReadonlySet<string> = new Set([
  "00".repeat(32),
  `01${"00".repeat(31)}`,
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  `ec${"ff".repeat(30)}7f`,
  `ed${"ff".repeat(30)}7f`,
  `ee${"ff".repeat(30)}7f`,
]);

function checkEdwardsPoint(point: Uint8Array): void {
  const unsigned = Uint8Array.from(point);
  unsigned[31] = (unsigned[31] ?? 0) & 0x7f;
  if (SMALL_ORDER_POINTS.has(hexOf(unsigned))) throw unsupportedKey("an Ed25519 point of small order");
}

function refusalOf(algorithm: DerReader): AppError {
  const type = hexOf(algorithm.content(TAG.oid));
  if (type !== OID.ecPublicKey.hex) return unsupportedKey(keyName(type));
  if (algorithm.peek() !== TAG.oid) return unsupportedKey("on a curve given by its parameters");
  const curve = hexOf(algorithm.content(TAG.oid));
  const known = curve === OID.prime256v1.hex || curve === OID.secp384r1.hex;
  return unsupportedKey(known ? "not an uncompressed point" : keyName(curve));
}

function keyBits(fields: DerReader): Uint8Array {
  const bits = fields.content(TAG.bitString);
  fields.finish();
  if (bits[0] !== 0) throw fields.fail("has a key that is not whole bytes");
  return bits.subarray(1);
}

function fixedFormOf(spki: Uint8Array): FixedForm | undefined {
  return FIXED_FORMS.find(({ prefix, length }) => spki.length === length && prefix.compare(spki, 0, prefix.length) === 0);
}

/** What kind of key a SubjectPublicKeyInfo holds. Throws `invalid-argument` for any that is not accepted, by name. */
export function keyKindOf(spki: Uint8Array): KeyKind {
  const form = fixedFormOf(spki);
  if (form !== undefined) {
    if (form.kind === KEY_KINDS.ed25519) checkEdwardsPoint(spki.subarray(form.prefix.length));
    return form.kind;
  }
  const fields = openDer(spki, "public key").enter(TAG.sequence);
  const algorithm = fields.element(TAG.sequence);
  if (Buffer.compare(algorithm, RSA_ALGORITHM) !== 0) throw refusalOf(openDer(algorithm, "public key").enter(TAG.sequence));
  checkRsaKey(keyBits(fields));
  return KEY_KINDS.rsa;
}

/** The key in a SubjectPublicKeyInfo. Throws `invalid-argument` for a kind that is not accepted, and for a point that is not on its curve. */
export function parsePublicKey(spki: Uint8Array): KeyObject {
  const { name } = keyKindOf(spki);
  try {
    return createPublicKey({ key: Buffer.from(spki.buffer, spki.byteOffset, spki.byteLength), format: "der", type: "spki" });
  } catch (cause) {
    throw new AppError("invalid-argument", `the public key is not a point of ${name}`, { cause });
  }
}

function keyContent(spki: Uint8Array): Uint8Array {
  const form = fixedFormOf(spki);
  if (form !== undefined) return spki.subarray(form.keyStart);
  const fields = openDer(spki, "public key").enter(TAG.sequence);
  fields.skip();
  return keyBits(fields);
}

/** The key identifier: the first 160 bits of the SHA-256 of the bit string's content (RFC 7093 §2, method 1). */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  return hash("sha256", keyContent(spki), "buffer").subarray(0, 20);
}
