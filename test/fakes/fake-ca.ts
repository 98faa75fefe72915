/** A CA that signs whatever a test wants, also what no CA should. */
import type { KeyObject } from "node:crypto";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { type Certificate, parseCertificates } from "../../src/x509/certificate.ts";
import { parseCsr } from "../../src/x509/csr.ts";
import { generateKey, spkiOf } from "../../src/x509/csr-builder.ts";
import { element, sequence, unsignedInteger } from "../../src/x509/der-writer.ts";
import { authorityKeyIdentifier, basicConstraints, extendedKeyUsage, extension, KEY_USAGE, keyUsage } from "../../src/x509/extensions.ts";
import { makeRoot } from "../../src/x509/issuer.ts";
import { signatureAlgorithmOf } from "../../src/x509/key-kinds.ts";
import { OID } from "../../src/x509/oids.ts";
import { formatPem } from "../../src/x509/pem.ts";
import { keyIdentifier, keyKindOf } from "../../src/x509/public-key.ts";
import { writeSigned } from "../../src/x509/signed.ts";
import { encodeTbs, randomSerial } from "../../src/x509/tbs.ts";
import { time } from "../../src/x509/time.ts";

const DAY_MS = 86_400_000;
const URI_TAG = 0x86;
const DNS_TAG = 0x82;
const IP_TAG = 0x87;

export interface LeafOptions {
  readonly spki: Uint8Array;
  /** URI names. */
  readonly identities: readonly string[];
  readonly dnsNames?: readonly string[];
  /** IPv4. */
  readonly addresses?: readonly string[];
  /** Milliseconds; without them, valid from two minutes ago for a day. */
  readonly notBefore?: number;
  readonly notAfter?: number;
}

export class FakeCa {
  readonly root: Certificate;
  readonly #key: KeyObject;

  /** Of a root of its own, or of one that is there and whose key is given. */
  constructor(
    organization = "fake",
    now = Date.now(),
    key = generateKey(),
    root = makeRoot(key, { organization, now: now - DAY_MS, backdateSeconds: 0 }),
  ) {
    this.#key = key;
    this.root = root;
  }

  get rootPem(): string {
    return formatPem("CERTIFICATE", this.root.der);
  }

  /** The PEM of a leaf. */
  sign({ spki, identities, dnsNames = [], addresses = [], notBefore, notAfter }: LeafOptions): string {
    const now = Math.floor(Date.now() / 1000) * 1000;
    const names = sequence(
      ...identities.map((identity) => element(URI_TAG, Buffer.from(identity))),
      ...dnsNames.map((name) => element(DNS_TAG, Buffer.from(name))),
      ...addresses.map((address) => element(IP_TAG, Uint8Array.from(address.split("."), Number))),
    );
    const tbs = encodeTbs({
      algorithm: signatureAlgorithmOf(this.#key),
      serial: randomSerial(),
      issuer: this.root.subject,
      subject: sequence(),
      validity: { notBefore: notBefore ?? now - 120_000, notAfter: notAfter ?? now + DAY_MS },
      spki,
      extensions: [
        keyUsage(keyKindOf(spki).leafUsage ?? KEY_USAGE.digitalSignature),
        extendedKeyUsage(OID.serverAuth, OID.clientAuth),
        basicConstraints(false),
        authorityKeyIdentifier(keyIdentifier(this.root.spki)),
        extension(OID.subjectAltName, true, names),
      ],
    });
    return formatPem("CERTIFICATE", writeSigned(tbs, this.#key));
  }

  /** The PEM of a leaf for the key of a request. */
  signRequest(csr: string, options: Omit<LeafOptions, "spki">): string {
    return this.sign({ spki: parseCsr(csr).spki, ...options });
  }

  /** A new key with its certificate, for a TLS server or client. */
  material(...identities: readonly string[]): TlsMaterial {
    return this.materialFor(generateKey(), ...identities);
  }

  /** A certificate for this key, for a TLS server or client. */
  materialFor(key: KeyObject, ...identities: readonly string[]): TlsMaterial {
    const chain = this.sign({ spki: spkiOf(key), identities });
    return { key: key.export({ type: "pkcs8", format: "pem" }).toString(), chain, roots: this.rootPem };
  }

  /** A new key with a certificate of any names and time. */
  serverMaterial(options: Partial<Omit<LeafOptions, "spki">>): TlsMaterial {
    const key = generateKey();
    const chain = this.sign({ spki: spkiOf(key), identities: [], ...options });
    return { key: key.export({ type: "pkcs8", format: "pem" }).toString(), chain, roots: this.rootPem };
  }

  /** The PEM of a list that revokes these certificates (RFC 5280 §5.1). */
  crl(...chains: readonly string[]): string {
    const now = Date.now();
    const revoked = chains.flatMap(parseCertificates).map(({ serial }) => {
      const digits = serial.length % 2 === 0 ? serial : `0${serial}`;
      return sequence(unsignedInteger(Buffer.from(digits, "hex")), time(now - DAY_MS));
    });
    const body = sequence(
      unsignedInteger(Uint8Array.of(1)),
      signatureAlgorithmOf(this.#key).identifier,
      this.root.subject,
      time(now - DAY_MS),
      time(now + DAY_MS),
      ...(revoked.length === 0 ? [] : [sequence(...revoked)]),
    );
    const base64 = Buffer.from(writeSigned(body, this.#key))
      .toString("base64")
      .replace(/.{64}(?!$)/g, "$&\n");
    return `-----BEGIN X509 CRL-----\n${base64}\n-----END X509 CRL-----\n`;
  }
}
