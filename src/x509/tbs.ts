/** The part of a certificate that is signed (RFC 5280 §4.1.2). */
import { randomBytes } from "node:crypto";
import { element, sequence, set, unsignedInteger, utf8String } from "./der-writer.ts";
import type { SignatureAlgorithm } from "./key-kinds.ts";
import { OID } from "./oids.ts";
import type { Validity } from "./profile.ts";
import { time } from "./time.ts";

const VERSION_3 = element(0xa0, unsignedInteger(Buffer.from([2])));

export interface TbsFields {
  /** What it will be signed with. */
  readonly algorithm: SignatureAlgorithm;
  readonly serial: Uint8Array;
  /** DER names. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly validity: Validity;
  readonly spki: Uint8Array;
  /** DER extensions, in the order in which they are written. */
  readonly extensions: readonly Uint8Array[];
}

/** The DER of a version 3 TBSCertificate. */
export function encodeTbs({ algorithm, serial, issuer, subject, validity, spki, extensions }: TbsFields): Uint8Array {
  const dates = sequence(time(validity.notBefore), time(validity.notAfter));
  return sequence(
    VERSION_3,
    unsignedInteger(serial),
    algorithm.identifier,
    issuer,
    dates,
    subject,
    spki,
    element(0xa3, sequence(...extensions)),
  );
}

const SERIAL_BYTES = 16;
/** Drawn 256 serials at a time: a draw costs as much as a serial's whole certificate body. Serials are no secrets. */
let pool = Buffer.alloc(0);

/** 16 random octets whose two highest bits are 01: positive, and of the same length always (RFC 5280 §4.1.2.2). */
export function randomSerial(): Uint8Array {
  if (pool.length === 0) pool = randomBytes(SERIAL_BYTES * 256);
  const serial = Uint8Array.from(pool.subarray(0, SERIAL_BYTES));
  pool = pool.subarray(SERIAL_BYTES);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  return serial;
}

/** The name `O=organization`. */
export function organizationName(organization: string): Uint8Array {
  return sequence(set(sequence(OID.organizationName.der, utf8String(organization))));
}
