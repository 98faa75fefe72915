/** Certificate requests (PKCS#10, RFC 2986) as the CA reads them. */
import type { KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import { DerReader, TAG } from "./der-reader.ts";
import { readExtensions } from "./extensions.ts";
import { type GeneralName, parseGeneralNames } from "./general-names.ts";
import { hexOf } from "./hex.ts";
import { OID } from "./oids.ts";
import { parseOnlyPem } from "./pem.ts";
import { parsePublicKey } from "./public-key.ts";
import { readSigned, type Signed, verifySigned, verifySignedAside } from "./signed.ts";

/** What a request may say: a key, whose possession is proved, and the names asked for. Subject and other extensions are for the profile to decide. */
export interface CertificateRequest {
  /** SubjectPublicKeyInfo of an accepted key. */
  readonly spki: Uint8Array;
  readonly names: readonly GeneralName[];
}

const WHAT = "certificate request";
/** A P-256 request has about 450 bytes, one of RSA-4096 1,700. */
const MAX_BYTES = 8 * 1024;
const MAX_ATTRIBUTES = 16;

function readVersion(fields: DerReader): void {
  const version = fields.content(TAG.integer);
  if (version.length !== 1 || version[0] !== 0) throw fields.fail("is not of version 1");
}

/** The values of the one attribute that counts: extensionRequest (RFC 2985 §5.4.2), at most once, with one value. */
function readAttributes(attributes: DerReader): readonly GeneralName[] {
  let names: readonly GeneralName[] | undefined;
  for (let count = 0; !attributes.done; count++) {
    if (count === MAX_ATTRIBUTES) throw attributes.fail(`has more than ${MAX_ATTRIBUTES} attributes`);
    const attribute = attributes.enter(TAG.sequence);
    const type = hexOf(attribute.content(TAG.oid));
    const values = attribute.enter(TAG.set);
    attribute.finish();
    if (type !== OID.extensionRequest.hex) continue;
    if (names !== undefined) throw attributes.fail("asks for extensions twice");
    const san = readExtensions(values).get(OID.subjectAltName.hex);
    values.finish();
    names = san === undefined ? [] : parseGeneralNames(san.value);
  }
  return names ?? [];
}

/** What a request says, before anybody has looked at its signature. */
interface Claim {
  readonly request: CertificateRequest;
  readonly signed: Signed;
  readonly key: KeyObject;
}

function readClaim(input: string | Uint8Array): Claim {
  const limit = typeof input === "string" ? MAX_BYTES * 2 : MAX_BYTES;
  if (input.length > limit) throw new AppError("invalid-argument", `the ${WHAT} is larger than ${MAX_BYTES} bytes`);
  const signed = readSigned(typeof input === "string" ? parseOnlyPem(input, "CERTIFICATE REQUEST") : input, WHAT);
  const fields = new DerReader(signed.body, WHAT).enter(TAG.sequence);
  readVersion(fields);
  fields.element(TAG.sequence);
  const spki = fields.element(TAG.sequence);
  const names = readAttributes(fields.enter(0xa0));
  fields.finish();
  return { request: { spki, names }, signed, key: parsePublicKey(spki) };
}

function proved({ request }: Claim, holds: boolean): CertificateRequest {
  if (holds) return request;
  throw new AppError("invalid-argument", `the ${WHAT} is not signed by the key it holds`);
}

/**
 * A certificate request from its PEM (exactly one block) or its DER, with its signature checked: the sender has the key.
 * Throws `invalid-argument`, also for a key that is not accepted.
 */
export function parseCsr(input: string | Uint8Array): CertificateRequest {
  const claim = readClaim(input);
  return proved(claim, verifySigned(claim.signed, claim.key));
}

/** The same, with the signature checked on another thread. */
export async function parseCsrAside(input: string | Uint8Array): Promise<CertificateRequest> {
  const claim = readClaim(input);
  return proved(claim, await verifySignedAside(claim.signed, claim.key));
}
