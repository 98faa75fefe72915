/** X.509 v3 extensions (RFC 5280 §4.2), read and written. */

import { type DerReader, openDer, TAG } from "./der-reader.ts";
import { bitString, boolean, element, octetString, sequence } from "./der-writer.ts";
import { hexOf } from "./hex.ts";
import { type ObjectId, OID } from "./oids.ts";

export interface Extension {
  readonly critical: boolean;
  /** The DER inside the extension's octet string. */
  readonly value: Uint8Array;
}

/** Extensions by the hex of their identifier. */
export type Extensions = ReadonlyMap<string, Extension>;

/** Key usages as bits of the first byte of the bit string (RFC 5280 §4.2.1.3). */
export const KEY_USAGE = { digitalSignature: 0x80, keyEncipherment: 0x20, keyAgreement: 0x08, keyCertSign: 0x04, cRLSign: 0x02 } as const;

const MAX_EXTENSIONS = 32;

function readExtension(reader: DerReader): readonly [string, Extension] {
  const fields = reader.enter(TAG.sequence);
  const id = hexOf(fields.content(TAG.oid));
  let critical = false;
  if (fields.peek() === TAG.boolean) {
    critical = fields.content(TAG.boolean)[0] === 0xff;
    if (!critical) throw fields.fail("writes out a default, which DER forbids");
  }
  const value = fields.content(TAG.octetString);
  fields.finish();
  return [id, { critical, value }];
}

/** The extensions of the `SEQUENCE OF Extension` that comes next; an extension may occur once. Throws `invalid-argument`. */
export function readExtensions(reader: DerReader): Extensions {
  const list = reader.enter(TAG.sequence);
  const result = new Map<string, Extension>();
  while (!list.done) {
    if (result.size === MAX_EXTENSIONS) throw list.fail(`has more than ${MAX_EXTENSIONS} extensions`);
    const [id, extension] = readExtension(list);
    if (result.has(id)) throw list.fail("has an extension twice");
    result.set(id, extension);
  }
  return result;
}

/** One extension around the DER of its value. */
export function extension(id: ObjectId, critical: boolean, value: Uint8Array): Uint8Array {
  return critical ? sequence(id.der, boolean(true), octetString(value)) : sequence(id.der, octetString(value));
}

/** BasicConstraints, critical; a certificate that is no CA leaves out the default (RFC 5280 §4.2.1.9). */
export function basicConstraints(isCa: boolean): Uint8Array {
  return extension(OID.basicConstraints, true, isCa ? sequence(boolean(true)) : sequence());
}

/** KeyUsage, critical, from bits of `KEY_USAGE`. X.690 §11.2.2: trailing zero bits are not written. */
export function keyUsage(bits: number): Uint8Array {
  return extension(OID.keyUsage, true, bitString(Buffer.from([bits]), 31 - Math.clz32(bits & -bits)));
}

export function extendedKeyUsage(...purposes: readonly ObjectId[]): Uint8Array {
  return extension(OID.extendedKeyUsage, false, sequence(...purposes.map((purpose) => purpose.der)));
}

export function subjectKeyIdentifier(id: Uint8Array): Uint8Array {
  return extension(OID.subjectKeyIdentifier, false, octetString(id));
}

export function authorityKeyIdentifier(id: Uint8Array): Uint8Array {
  return extension(OID.authorityKeyIdentifier, false, sequence(element(0x80, id)));
}

/** Where the list of revoked certificates is fetched: one point with one address (RFC 5280 §4.2.1.13). */
export function crlDistributionPoint(url: string): Uint8Array {
  const fullName = element(0xa0, element(0x86, Buffer.from(url, "ascii")));
  return extension(OID.cRLDistributionPoints, false, sequence(sequence(element(0xa0, fullName))));
}

function openValue(value: Uint8Array, what: string, tag: number): DerReader {
  const reader = openDer(value, what);
  const inner = reader.enter(tag);
  reader.finish();
  return inner;
}

export function parseBasicConstraints(value: Uint8Array): { readonly isCa: boolean; readonly pathLength: number | undefined } {
  const fields = openValue(value, "basic constraints", TAG.sequence);
  const isCa = fields.peek() === TAG.boolean && fields.content(TAG.boolean)[0] === 0xff;
  let pathLength: number | undefined;
  if (isCa && fields.peek() === TAG.integer) {
    const content = fields.content(TAG.integer);
    pathLength = content[0];
    if (content.length !== 1 || (pathLength ?? 0x80) >= 0x80) throw fields.fail("have an impossible path length");
  }
  fields.finish();
  return { isCa, pathLength };
}

/** The first byte of the bit string: bits of `KEY_USAGE`. */
export function parseKeyUsage(value: Uint8Array): number {
  const reader = openDer(value, "key usage");
  const content = reader.content(TAG.bitString);
  reader.finish();
  return content[1] ?? 0;
}

/** The hex of each purpose's identifier. */
export function parseExtendedKeyUsage(value: Uint8Array): readonly string[] {
  const fields = openValue(value, "extended key usage", TAG.sequence);
  const purposes: string[] = [];
  while (!fields.done) purposes.push(hexOf(fields.content(TAG.oid)));
  return purposes;
}

/** The identifier in hex. */
export function parseSubjectKeyIdentifier(value: Uint8Array): string {
  const reader = openDer(value, "subject key identifier");
  const content = reader.content(TAG.octetString);
  reader.finish();
  return hexOf(content);
}

/** The key identifier in hex, where the extension has one (it may name issuer and serial instead). */
export function parseAuthorityKeyIdentifier(value: Uint8Array): string | undefined {
  const fields = openValue(value, "authority key identifier", TAG.sequence);
  return fields.peek() === 0x80 ? hexOf(fields.content(0x80)) : undefined;
}
