/** A CA of outsiders: server certificates for DNS names, client certificates, and a revocation list (RFC 5280 §5.1). */
import type { KeyObject } from "node:crypto";
import { generateKey, spkiOf } from "../../src/x509/csr-builder.ts";
import { element, sequence, unsignedInteger } from "../../src/x509/der-writer.ts";
import {
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  extension,
  KEY_USAGE,
  keyUsage,
  subjectKeyIdentifier,
} from "../../src/x509/extensions.ts";
import { signatureAlgorithmOf } from "../../src/x509/key-kinds.ts";
import { OID } from "../../src/x509/oids.ts";
import { formatPem } from "../../src/x509/pem.ts";
import { keyIdentifier } from "../../src/x509/public-key.ts";
import { writeSigned } from "../../src/x509/signed.ts";
import { encodeTbs, organizationName, randomSerial } from "../../src/x509/tbs.ts";
import { time } from "../../src/x509/time.ts";

const DAY_MS = 86_400_000;
const DNS_TAG = 0x82;
const URI_TAG = 0x86;

export interface OutsideCertificate {
  readonly serial: Uint8Array;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

function pemOf(key: KeyObject): string {
  return String(key.export({ type: "pkcs8", format: "pem" }));
}

export class OutsideCa {
  /** PEM. */
  readonly root: string;
  readonly #key = generateKey();
  readonly #name: Uint8Array;

  constructor(name: string) {
    this.#name = organizationName(name);
    const id = keyIdentifier(spkiOf(this.#key));
    const extensions = [basicConstraints(true), keyUsage(KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign), subjectKeyIdentifier(id)];
    this.root = this.#sign(this.#name, this.#key, randomSerial(), [-DAY_MS, DAY_MS], extensions);
  }

  /** A certificate for a name, a DNS one or a URI, good from an hour ago for a day; or for another time from now. */
  issue(name: string, validity: readonly [number, number] = [-3_600_000, DAY_MS]): OutsideCertificate {
    const key = generateKey();
    const serial = randomSerial();
    const names = sequence(element(name.includes(":") ? URI_TAG : DNS_TAG, Buffer.from(name)));
    const extensions = [
      keyUsage(KEY_USAGE.digitalSignature),
      extendedKeyUsage(OID.serverAuth, OID.clientAuth),
      basicConstraints(false),
      authorityKeyIdentifier(keyIdentifier(spkiOf(this.#key))),
      extension(OID.subjectAltName, true, names),
    ];
    return { serial, cert: this.#sign(sequence(), key, serial, validity, extensions), key: pemOf(key) };
  }

  /** The PEM of a list with these certificates. */
  revocationList(...revoked: readonly OutsideCertificate[]): string {
    const now = Date.now();
    const entries = revoked.map(({ serial }) => sequence(unsignedInteger(serial), time(now - DAY_MS)));
    const version = unsignedInteger(Buffer.from([1]));
    const dates = [time(now - DAY_MS), time(now + DAY_MS)];
    const list = entries.length === 0 ? [] : [sequence(...entries)];
    const extensions = element(0xa0, sequence(authorityKeyIdentifier(keyIdentifier(spkiOf(this.#key)))));
    const body = sequence(version, signatureAlgorithmOf(this.#key).identifier, this.#name, ...dates, ...list, extensions);
    const text = Buffer.from(writeSigned(body, this.#key)).toString("base64").replace(/.{64}/g, "$&\n");
    return `-----BEGIN X509 CRL-----\n${text}\n-----END X509 CRL-----\n`;
  }

  #sign(
    subject: Uint8Array,
    key: KeyObject,
    serial: Uint8Array,
    [from, to]: readonly [number, number],
    extensions: readonly Uint8Array[],
  ): string {
    const now = Math.floor(Date.now() / 1000) * 1000;
    const tbs = encodeTbs({
      algorithm: signatureAlgorithmOf(this.#key),
      serial,
      issuer: this.#name,
      subject,
      validity: { notBefore: now + from, notAfter: now + to },
      spki: spkiOf(key),
      extensions,
    });
    return formatPem("CERTIFICATE", writeSigned(tbs, this.#key));
  }
}
