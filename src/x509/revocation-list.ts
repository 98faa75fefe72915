/** Certificate revocation lists, version 2, full, of one issuer (RFC 5280 §5). */
import { AppError } from "../core/error.ts";
import { type Certificate, publicKeyOf } from "./certificate.ts";
import { type DerReader, openDer, TAG } from "./der-reader.ts";
import { element, sequence, unsignedInteger } from "./der-writer.ts";
import { type Extensions, extension, KEY_USAGE, parseAuthorityKeyIdentifier, readExtensions } from "./extensions.ts";
import { hexOf } from "./hex.ts";
import type { SignatureAlgorithm } from "./key-kinds.ts";
import { OID } from "./oids.ts";
import { parsePem } from "./pem.ts";
import { readSigned, type Signed, verifySigned } from "./signed.ts";
import { readTime, time } from "./time.ts";

/** RFC 5280 §5.3.1; the codes that have a meaning for a workload's certificate. `unspecified` is not written. */
export const REVOCATION_REASONS = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
} as const;

export type RevocationReason = keyof typeof REVOCATION_REASONS;

export interface RevokedCertificate {
  /** Lower-case hex. */
  readonly serial: string;
  /** Milliseconds. */
  readonly revokedAt: number;
  readonly reason: RevocationReason;
}

export interface RevocationListFields {
  /** Grows with each list of the issuer (RFC 5280 §5.2.3). */
  readonly number: number;
  /** Milliseconds. */
  readonly thisUpdate: number;
  /** Milliseconds: when a newer list exists at the latest. */
  readonly nextUpdate: number;
  readonly revoked: readonly RevokedCertificate[];
}

export interface RevocationList extends Omit<RevocationListFields, "revoked"> {
  readonly signed: Signed;
  /** A DER name. */
  readonly issuer: Uint8Array;
  /** Hex. */
  readonly authorityKeyId: string | undefined;
  /** Serials in lower-case hex without leading zero bytes. */
  readonly serials: ReadonlySet<string>;
}

const VERSION_2 = unsignedInteger(Buffer.from([1]));
/** Some 100,000 certificates. */
const MAX_BYTES = 4 * 1024 * 1024;
/** RFC 5280 §5.2.3: a number has at most 20 octets; ours is a safe integer. */
const MAX_NUMBER_BYTES = 20;

function encodeNumber(value: number): Uint8Array {
  const hex = value.toString(16);
  return unsignedInteger(Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex"));
}

function encodeRevoked({ serial, revokedAt, reason }: RevokedCertificate): Uint8Array {
  const id = unsignedInteger(Buffer.from(serial, "hex"));
  const code = REVOCATION_REASONS[reason];
  // RFC 5280 §5.3.1: instead of `unspecified` the extension should be absent.
  if (code === REVOCATION_REASONS.unspecified) return sequence(id, time(revokedAt));
  const why = extension(OID.reasonCode, false, element(TAG.enumerated, Buffer.from([code])));
  return sequence(id, time(revokedAt), sequence(why));
}

/** The DER of a TBSCertList; `authorityKeyIdentifier` is the whole extension. */
export function encodeRevocationList(
  list: RevocationListFields,
  issuer: Uint8Array,
  algorithm: SignatureAlgorithm,
  authorityKeyIdentifier: Uint8Array,
): Uint8Array {
  // RFC 5280 §5.1.2.6: the list is absent where nothing is revoked.
  const revoked = list.revoked.length === 0 ? [] : [sequence(...list.revoked.map(encodeRevoked))];
  const number = extension(OID.cRLNumber, false, encodeNumber(list.number));
  return sequence(
    VERSION_2,
    algorithm.identifier,
    issuer,
    time(list.thisUpdate),
    time(list.nextUpdate),
    ...revoked,
    element(0xa0, sequence(authorityKeyIdentifier, number)),
  );
}

function serialOf(reader: DerReader): string {
  const content = reader.content(TAG.integer);
  return hexOf(content[0] === 0 && content.length > 1 ? content.subarray(1) : content);
}

/** Serials of the entries that come next. Critical entry extensions (an indirect list's issuer) are refused: an entry would be misread. */
function readRevoked(reader: DerReader): ReadonlySet<string> {
  const serials = new Set<string>();
  if (reader.peek() !== TAG.sequence) return serials;
  const entries = reader.enter(TAG.sequence);
  while (!entries.done) {
    const fields = entries.enter(TAG.sequence);
    serials.add(serialOf(fields));
    readTime(fields);
    const extensions = fields.done ? new Map<string, { readonly critical: boolean }>() : readExtensions(fields);
    if ([...extensions.values()].some(({ critical }) => critical)) throw fields.fail("has an entry with a critical extension");
    fields.finish();
  }
  return serials;
}

function readListExtensions(reader: DerReader): Extensions {
  const wrapper = reader.enter(0xa0);
  const extensions = readExtensions(wrapper);
  wrapper.finish();
  // A delta list, or one for a part of the certificates only, says so in a critical extension.
  if ([...extensions.values()].some(({ critical }) => critical)) throw reader.fail("has a critical extension that is not supported");
  return extensions;
}

function numberOf(extensions: Extensions): number {
  const value = extensions.get(OID.cRLNumber.hex)?.value;
  if (value === undefined) throw new AppError("invalid-argument", "the revocation list has no number");
  const content = openDer(value, "number of the revocation list").content(TAG.integer);
  if (content.length > MAX_NUMBER_BYTES || (content[0] ?? 0) >= 0x80)
    throw new AppError("invalid-argument", "the revocation list has an impossible number");
  return Number(BigInt(`0x${hexOf(content)}`));
}

/** Reads a full list, strictly. Its signature is not looked at (`verifyRevocationList`). Throws `invalid-argument`. */
export function parseRevocationList(der: Uint8Array): RevocationList {
  const signed = readSigned(der, "revocation list", MAX_BYTES);
  const body = openDer(signed.body, "revocation list", MAX_BYTES).enter(TAG.sequence);
  const version = body.content(TAG.integer);
  if (version.length !== 1 || version[0] !== 1) throw body.fail("is not of version 2");
  if (Buffer.compare(body.element(TAG.sequence), signed.algorithm) !== 0) throw body.fail("names two signature algorithms");
  const issuer = body.element(TAG.sequence);
  const thisUpdate = readTime(body);
  const nextUpdate = readTime(body);
  const serials = readRevoked(body);
  const extensions = readListExtensions(body);
  body.finish();
  const keyId = extensions.get(OID.authorityKeyIdentifier.hex);
  const authorityKeyId = keyId === undefined ? undefined : parseAuthorityKeyIdentifier(keyId.value);
  return { signed, issuer, thisUpdate, nextUpdate, serials, number: numberOf(extensions), authorityKeyId };
}

/** The lists of a PEM text. Throws `invalid-argument`. */
export function parseRevocationLists(pem: string): readonly RevocationList[] {
  return parsePem(pem, "X509 CRL").map(parseRevocationList);
}

/** Whether `list` is one that `issuer` signed. Throws `invalid-argument` for an algorithm that is not accepted. */
export function isRevocationListOf(list: RevocationList, issuer: Certificate): boolean {
  const named = Buffer.compare(list.issuer, issuer.subject) === 0;
  const sameKey = list.authorityKeyId === undefined || issuer.subjectKeyId === undefined || list.authorityKeyId === issuer.subjectKeyId;
  const may = ((issuer.keyUsage ?? 0) & KEY_USAGE.cRLSign) !== 0;
  return named && sameKey && may && verifySigned(list.signed, publicKeyOf(issuer));
}
