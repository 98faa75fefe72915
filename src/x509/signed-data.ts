/** Signed data of CMS, alias PKCS#7 (RFC 5652 §5), of the one form that clouds sign documents in: content inside, one signer, RSA with SHA-256, signed attributes. */
import { hash, type KeyObject, verify } from "node:crypto";
import { AppError } from "../core/error.ts";
import { type BerElement, octetsOf, parseBer } from "./ber.ts";
import { hexOf } from "./hex.ts";
import { OID } from "./oids.ts";

const [OBJECT_ID, SEQUENCE, SET, CONTEXT_0] = [0x06, 0x30, 0x31, 0xa0] as const;
const WHAT = "signed document";

function malformed(why: string): AppError {
  return new AppError("invalid-argument", `the ${WHAT} ${why}`);
}

function isObject(element: BerElement | undefined, id: { readonly hex: string }): boolean {
  return element?.tag === OBJECT_ID && hexOf(element.content) === id.hex;
}

/** The children of an element that must be there with this tag. */
function within(element: BerElement | undefined, tag: number): readonly BerElement[] {
  if (element?.tag === tag) return element.children;
  throw malformed("is not signed data of PKCS#7");
}

function signedDataOf(bytes: Uint8Array): readonly BerElement[] {
  const [type, wrapped, ...others] = within(parseBer(bytes, WHAT), SEQUENCE);
  const [data, ...more] = within(wrapped, CONTEXT_0);
  if (!isObject(type, OID.signedData) || others.length > 0 || more.length > 0) throw malformed("is not signed data of PKCS#7");
  return within(data, SEQUENCE);
}

function contentOf(encapsulated: BerElement | undefined): Uint8Array {
  const [type, wrapped] = within(encapsulated, SEQUENCE);
  const octets = wrapped === undefined ? undefined : wrapped.children[0];
  const content = octets === undefined || wrapped?.tag !== CONTEXT_0 ? undefined : octetsOf(octets);
  if (!isObject(type, OID.data) || content === undefined) throw malformed("does not contain what was signed");
  return content;
}

/** The one value of a signed attribute that must be there once (RFC 5652 §11). */
function attribute(attributes: readonly BerElement[], id: { readonly hex: string }): BerElement {
  const found = attributes.filter(({ tag, children }) => tag === SEQUENCE && isObject(children[0], id));
  const [value, ...others] = found.flatMap(({ children }) => within(children[1], SET));
  if (found.length !== 1 || value === undefined || others.length > 0) throw malformed("lacks a signed attribute");
  return value;
}

/** RFC 5652 §5.4: what is signed is the attributes' own DER, with the tag of a set. */
function signedBytes({ bytes }: BerElement): Uint8Array {
  if (bytes[1] === 0x80) throw malformed("has signed attributes that are not DER");
  return Buffer.concat([Buffer.from([SET]), bytes.subarray(1)]);
}

/**
 * The content of a message that one of `keys` (RSA) signed. Throws `invalid-argument` for what is no such message, `unauthenticated`
 * for a signature of somebody else. The certificates in the message count for nothing.
 */
export function verifiedContent(bytes: Uint8Array, keys: readonly KeyObject[]): Uint8Array {
  const fields = signedDataOf(bytes);
  const content = contentOf(fields[2]);
  const [signer, ...others] = within(fields.at(-1), SET);
  if (others.length > 0) throw malformed("has several signers");
  const [, , digest, attributes, algorithm, signature] = within(signer, SEQUENCE);
  const isRsa = [OID.rsaEncryption, OID.sha256WithRsa].some((id) => isObject(algorithm?.children[0], id));
  if (!isObject(digest?.children[0], OID.sha256) || !isRsa) throw malformed("is not signed by RSA with SHA-256");
  if (attributes?.tag !== CONTEXT_0) throw malformed("has no signed attributes");
  if (!isObject(attribute(attributes.children, OID.contentType), OID.data)) throw malformed("is of another type than it says");
  const recorded = attribute(attributes.children, OID.messageDigest);
  const octets = signature === undefined ? undefined : octetsOf(signature);
  const isWhole = recorded.tag === 0x04 && hexOf(recorded.content) === hash("sha256", content, "hex");
  const signed = signedBytes(attributes);
  const isSigned = octets !== undefined && keys.some((key) => verify("sha256", signed, key, octets));
  if (isWhole && isSigned) return content;
  throw new AppError("unauthenticated", `the signature of the ${WHAT} does not hold`);
}
