/** X.509 v3 certificates as this system uses them (RFC 5280 §4.1). */
import { hash, type KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import { parseSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import { DerReader, TAG } from "./der-reader.ts";
import {
  type Extensions,
  parseAuthorityKeyIdentifier,
  parseBasicConstraints,
  parseExtendedKeyUsage,
  parseKeyUsage,
  parseSubjectKeyIdentifier,
  readExtensions,
} from "./extensions.ts";
import { type GeneralName, parseGeneralNames } from "./general-names.ts";
import { hexOf } from "./hex.ts";
import { type ObjectId, OID } from "./oids.ts";
import { parsePem } from "./pem.ts";
import { parsePublicKey } from "./public-key.ts";
import { readSigned, type Signed } from "./signed.ts";
import { readTime } from "./time.ts";

export interface Certificate {
  readonly der: Uint8Array;
  readonly signed: Signed;
  /** Lower-case hex without leading zero bytes. */
  readonly serial: string;
  /** DER names; two are the same when their bytes are. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** Milliseconds; both ends are within the validity. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly spki: Uint8Array;
  readonly names: readonly GeneralName[];
  readonly isCa: boolean;
  readonly pathLength: number | undefined;
  /** Bits of `KEY_USAGE`; undefined without the extension. */
  readonly keyUsage: number | undefined;
  /** Hex of each purpose's identifier; undefined without the extension. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** Hex. */
  readonly subjectKeyId: string | undefined;
  readonly authorityKeyId: string | undefined;
  /** Hex of the extensions that are marked critical. */
  readonly critical: readonly string[];
  /** Hex of the extensions that a verifier must process and this one cannot: unknown critical ones, and name constraints always. */
  readonly unprocessed: readonly string[];
}

const VERSION_3 = 2;
/** RFC 5280 §4.1.2.2: at most 20 octets. */
const MAX_SERIAL_BYTES = 20;
const PROCESSED: ReadonlySet<string> = new Set([
  OID.subjectAltName.hex,
  OID.basicConstraints.hex,
  OID.keyUsage.hex,
  OID.extendedKeyUsage.hex,
  OID.subjectKeyIdentifier.hex,
  OID.authorityKeyIdentifier.hex,
]);

function readVersion(fields: DerReader): void {
  if (fields.peek() !== 0xa0) throw fields.fail("is not X.509 version 3");
  const version = fields.enter(0xa0);
  const content = version.content(TAG.integer);
  if (content.length !== 1 || content[0] !== VERSION_3) throw version.fail("is not X.509 version 3");
  version.finish();
}

function readSerial(fields: DerReader): string {
  const content = fields.content(TAG.integer);
  const first = content[0] ?? 0;
  const bytes = first === 0 ? content.subarray(1) : content;
  if (first >= 0x80 || bytes.length === 0 || bytes.length > MAX_SERIAL_BYTES)
    throw fields.fail("has a serial that is not 1 to 20 octets and positive");
  return hexOf(bytes);
}

function interpret(extensions: Extensions) {
  const value = <T>(id: ObjectId, parse: (der: Uint8Array) => T): T | undefined => {
    const found = extensions.get(id.hex);
    return found === undefined ? undefined : parse(found.value);
  };
  const constraints = value(OID.basicConstraints, parseBasicConstraints);
  return {
    names: value(OID.subjectAltName, parseGeneralNames) ?? [],
    isCa: constraints?.isCa ?? false,
    pathLength: constraints?.pathLength,
    keyUsage: value(OID.keyUsage, parseKeyUsage),
    extendedKeyUsage: value(OID.extendedKeyUsage, parseExtendedKeyUsage),
    subjectKeyId: value(OID.subjectKeyIdentifier, parseSubjectKeyIdentifier),
    authorityKeyId: value(OID.authorityKeyIdentifier, parseAuthorityKeyIdentifier),
    critical: [...extensions].filter(([, { critical }]) => critical).map(([id]) => id),
    unprocessed: [...extensions]
      .filter(([id, { critical }]) => id === OID.nameConstraints.hex || (critical && !PROCESSED.has(id)))
      .map(([id]) => id),
  };
}

/** One certificate from its DER. Checks its form, not its signature or validity. Throws `invalid-argument`. */
export function parseCertificate(der: Uint8Array): Certificate {
  const signed = readSigned(der, "certificate");
  const fields = new DerReader(signed.body, signed.what).enter(TAG.sequence);
  readVersion(fields);
  const serial = readSerial(fields);
  if (Buffer.compare(fields.element(TAG.sequence), signed.algorithm) !== 0) throw fields.fail("names two signature algorithms");
  const issuer = fields.element(TAG.sequence);
  const validity = fields.enter(TAG.sequence);
  const notBefore = readTime(validity);
  const notAfter = readTime(validity);
  validity.finish();
  const subject = fields.element(TAG.sequence);
  const spki = fields.element(TAG.sequence);
  const wrapper = fields.enter(0xa3);
  const extensions = readExtensions(wrapper);
  wrapper.finish();
  fields.finish();
  return { der, signed, serial, issuer, subject, notBefore, notAfter, spki, ...interpret(extensions) };
}

/** Every certificate of a PEM text, in its order; at least one. Throws `invalid-argument`. */
export function parseCertificates(pem: string): readonly Certificate[] {
  const certificates = parsePem(pem, "CERTIFICATE").map(parseCertificate);
  if (certificates.length === 0) throw new AppError("invalid-argument", "the PEM text has no certificate");
  return certificates;
}

const publicKeys = new WeakMap<Certificate, KeyObject>();

/** The certificate's public key, made once. Throws `invalid-argument` for a kind that is not accepted. */
export function publicKeyOf(certificate: Certificate): KeyObject {
  const known = publicKeys.get(certificate);
  if (known !== undefined) return known;
  const key = parsePublicKey(certificate.spki);
  publicKeys.set(certificate, key);
  return key;
}

/** SHA-256 of the DER, in hex: what Envoy calls `connection.sha256_peer_certificate_digest`. */
export function certificateDigest(certificate: Certificate): string {
  return hash("sha256", certificate.der, "hex");
}

/** The workload identity of an X.509-SVID: its one URI name (SPIFFE X509-SVID §2). Throws `invalid-argument` when it has none, several, or one of another shape. */
export function svidIdentity(certificate: Certificate): SpiffeId {
  const [uri, ...others] = certificate.names.filter((name) => name.kind === "uri");
  if (uri === undefined || others.length > 0) {
    throw new AppError(
      "invalid-argument",
      `the certificate has ${uri === undefined ? "no" : others.length + 1} URI names where exactly one belongs`,
    );
  }
  return parseSpiffeId(uri.value);
}
