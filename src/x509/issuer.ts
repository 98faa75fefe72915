/** Signing in two steps: prepare a certificate, then sign what was prepared, once. */
import { createPublicKey, type KeyObject } from "node:crypto";
import { AppError } from "../core/error.ts";
import { type Certificate, parseCertificate, publicKeyOf } from "./certificate.ts";
import { bitString, sequence } from "./der-writer.ts";
import {
  authorityKeyIdentifier,
  basicConstraints,
  crlDistributionPoint,
  extendedKeyUsage,
  extension,
  KEY_USAGE,
  keyUsage,
  subjectKeyIdentifier,
} from "./extensions.ts";
import { formatGeneralNames } from "./general-names.ts";
import { hexOf } from "./hex.ts";
import { KEY_KINDS, type KeyKind, type SignatureAlgorithm, signatureAlgorithmOf } from "./key-kinds.ts";
import { lintLeaf } from "./lints/all.ts";
import { OID } from "./oids.ts";
import type { Profile, Validity } from "./profile.ts";
import { keyIdentifier, keyKindOf } from "./public-key.ts";
import { encodeRevocationList, type RevocationListFields } from "./revocation-list.ts";
import { assembleSigned, readSigned, verifySigned, writeSigned, writeSignedAside } from "./signed.ts";
import { isSigner, type Signer } from "./signer.ts";
import { encodeTbs, organizationName, randomSerial } from "./tbs.ts";

export interface LeafRequest {
  /** SubjectPublicKeyInfo of an accepted key, already checked. */
  readonly spki: Uint8Array;
  /** The one URI name. */
  readonly uri: string;
  readonly dnsNames: readonly string[];
  /** 0 takes the profile's default. */
  readonly ttlSeconds: number;
  /** Milliseconds. */
  readonly now: number;
  /** Where the list of revoked certificates is served; ASCII. `{authority}` stands for the issuer's key identifier. */
  readonly crlUrl?: string;
}

/** A certificate that is ready to be signed, once, by the issuer that prepared it. */
export interface PreparedCertificate extends Validity {
  /** Lower-case hex. */
  readonly serial: string;
  /** The identifier of its public key, in hex. */
  readonly keyId: string;
}

/** What is to be signed, and how it reads: a certificate but for its signature. */
interface Unsigned {
  readonly tbs: Uint8Array;
  readonly preview: Certificate;
}

const AUTHORITY = "{authority}";
/** Stands where the signature will be. */
const NO_SIGNATURE = bitString(Buffer.alloc(0));
/** RFC 5280 §4.1.2.6: empty, as the SAN is critical and says it all. */
const EMPTY_NAME = sequence();
/** The same in every leaf of one kind of key. */
const leafExtensions = (usage: number): readonly Uint8Array[] => [
  keyUsage(usage),
  extendedKeyUsage(OID.serverAuth, OID.clientAuth),
  basicConstraints(false),
];
const LEAF_EXTENSIONS: ReadonlyMap<KeyKind, readonly Uint8Array[]> = new Map(
  Object.values(KEY_KINDS).flatMap((kind) => (kind.leafUsage === undefined ? [] : [[kind, leafExtensions(kind.leafUsage)] as const])),
);

function leafExtensionsFor(spki: Uint8Array): readonly Uint8Array[] {
  const kind = keyKindOf(spki);
  const found = LEAF_EXTENSIONS.get(kind);
  if (found !== undefined) return found;
  throw new AppError(
    "invalid-argument",
    `the public key is ${kind.name}, and Envoy takes no such certificate from its peers: take P-256, P-384 or RSA`,
  );
}
const ROOT_YEARS_MS = 10 * 365 * 24 * 3600 * 1000;

/**
 * Whether the certificate holds the public half of the key. By their bytes: `KeyObject.equals` of two kinds of keys leaves an error in OpenSSL's queue, and
 * the next key that is read in this process is refused with it.
 */
function isHalfOf(certificate: Certificate, key: KeyObject | Signer): boolean {
  const publicKey = isSigner(key) ? key.publicKey : createPublicKey(key);
  const [held, own] = [publicKeyOf(certificate), publicKey].map((each) => each.export({ type: "spki", format: "der" }));
  return held !== undefined && own !== undefined && held.equals(own);
}

/** A CA certificate with its key, in memory or elsewhere. Its methods throw AppError. */
export class Issuer<Key extends KeyObject | Signer = KeyObject> {
  readonly certificate: Certificate;
  /** When the first certificate of its path to the root expires, in milliseconds: no leaf outlives it. */
  readonly validUntil: number;
  readonly #key: Key;
  readonly #algorithm: SignatureAlgorithm;
  readonly #authorityKeyIdentifier: Uint8Array;
  /** The identifier of its key in hex, as certificates name it. */
  readonly keyId: string;
  /** What was prepared and not signed yet, with the bytes to be signed, which nobody else holds. */
  readonly #unspent = new WeakMap<PreparedCertificate, Unsigned>();

  /**
   * `above` are the certificates between this one and its root, and the root. Throws `invalid-argument` unless the certificate is a CA's
   * and holds the public half of `key`.
   */
  constructor(certificate: Certificate, key: Key, above: readonly Certificate[] = []) {
    if (!certificate.isCa || ((certificate.keyUsage ?? 0) & KEY_USAGE.keyCertSign) === 0) {
      throw new AppError("invalid-argument", "the certificate is not a CA's: it may not sign certificates");
    }
    if (!isHalfOf(certificate, key)) throw new AppError("invalid-argument", "the certificate and the key do not belong together");
    this.certificate = certificate;
    this.validUntil = Math.min(...[certificate, ...above].map(({ notAfter }) => notAfter));
    this.#key = key;
    this.#algorithm = signatureAlgorithmOf(isSigner(key) ? key.publicKey : key);
    this.keyId = certificate.subjectKeyId ?? hexOf(keyIdentifier(certificate.spki));
    this.#authorityKeyIdentifier = authorityKeyIdentifier(Buffer.from(this.keyId, "hex"));
  }

  /**
   * The certificate that `request` gets under `profile`, linted as it will be read. Throws `internal` when a lint fails, `invalid-argument` for what the profile does not allow, and
   * `unavailable` when the CA's own certificate is not valid now.
   */
  prepare(profile: Profile, request: LeafRequest): PreparedCertificate {
    if (request.now < this.certificate.notBefore || request.now >= this.validUntil) {
      throw new AppError("unavailable", "the CA's certificate is not valid at this time", {
        help: "check this machine's clock, then the CA certificate",
      });
    }
    profile.checkDnsNames(request.dnsNames);
    const validity = profile.validity(request.now, request.ttlSeconds, this.validUntil);
    const serial = randomSerial();
    const keyId = keyIdentifier(request.spki);
    const tbs = encodeTbs({
      algorithm: this.#algorithm,
      serial,
      issuer: this.certificate.subject,
      subject: EMPTY_NAME,
      validity,
      spki: request.spki,
      extensions: [
        ...leafExtensionsFor(request.spki),
        subjectKeyIdentifier(keyId),
        this.#authorityKeyIdentifier,
        extension(OID.subjectAltName, true, formatGeneralNames(request.uri, request.dnsNames)),
        ...(request.crlUrl === undefined ? [] : [crlDistributionPoint(request.crlUrl.replace(AUTHORITY, this.keyId))]),
      ],
    });
    const preview = parseCertificate(sequence(tbs, this.#algorithm.identifier, NO_SIGNATURE));
    lintLeaf(preview, { issuer: this.certificate, issuerValidUntil: this.validUntil });
    const prepared = { ...validity, serial: hexOf(serial), keyId: hexOf(keyId) };
    this.#unspent.set(prepared, { tbs, preview });
    return prepared;
  }

  /** Signs what this issuer prepared, with a key in memory. Throws `internal` for a second signature, for what another issuer prepared, and when other bytes were signed. */
  sign(this: Issuer, prepared: PreparedCertificate): Certificate {
    const unsigned = this.#spend(prepared);
    return this.#signedOf(unsigned, writeSigned(unsigned.tbs, this.#key));
  }

  /** The same, wherever the key is. Throws also what the signer throws. */
  async certify(prepared: PreparedCertificate): Promise<Certificate> {
    const unsigned = this.#spend(prepared);
    return this.#signedOf(unsigned, await this.#write(unsigned.tbs));
  }

  /** The DER of a list of what this issuer has revoked, signed with a key in memory. Throws `invalid-argument` where its certificate does not let it sign one. */
  signRevocationList(this: Issuer, list: RevocationListFields): Uint8Array {
    return writeSigned(this.#revocationList(list), this.#key);
  }

  /** The same, wherever the key is. Throws also what the signer throws. */
  async certifyRevocationList(list: RevocationListFields): Promise<Uint8Array> {
    return this.#write(this.#revocationList(list));
  }

  #spend(prepared: PreparedCertificate): Unsigned {
    const unsigned = this.#unspent.get(prepared);
    if (unsigned === undefined) throw new AppError("internal", "a certificate is signed once, by the issuer that prepared it");
    this.#unspent.delete(prepared);
    return unsigned;
  }

  #signedOf({ tbs, preview }: Unsigned, der: Uint8Array): Certificate {
    const signed = readSigned(der, "certificate");
    const same = Buffer.compare(signed.body, tbs) === 0 && Buffer.compare(signed.algorithm, this.#algorithm.identifier) === 0;
    if (!same) throw new AppError("internal", "the signed certificate is not the prepared one");
    // The bytes are those that were read before.
    return { ...preview, der, signed };
  }

  /** What comes from elsewhere is a signature only once it verifies. */
  async #write(body: Uint8Array): Promise<Uint8Array> {
    const key: KeyObject | Signer = this.#key;
    if (!isSigner(key)) return writeSignedAside(body, key, this.#algorithm);
    const der = assembleSigned(body, this.#algorithm, await key.sign(body));
    if (verifySigned(readSigned(der, "signed text"), key.publicKey)) return der;
    throw new AppError("unavailable", "what the CA's signer answered is not a signature by its key");
  }

  #revocationList(list: RevocationListFields): Uint8Array {
    if (((this.certificate.keyUsage ?? 0) & KEY_USAGE.cRLSign) === 0)
      throw new AppError("invalid-argument", "the CA's certificate may not sign revocation lists: it has no key usage `cRLSign`");
    return encodeRevocationList(list, this.certificate.subject, this.#algorithm, this.#authorityKeyIdentifier);
  }
}

/** An issuer whose key may be anywhere. */
export type AnyIssuer = Issuer<KeyObject | Signer>;

interface RootOptions {
  readonly organization: string;
  /** Milliseconds. */
  readonly now: number;
  readonly backdateSeconds: number;
}

function encodeRoot(publicKey: KeyObject, options: RootOptions): Uint8Array {
  const name = organizationName(options.organization);
  const spki = publicKey.export({ type: "spki", format: "der" });
  const id = keyIdentifier(spki);
  return encodeTbs({
    algorithm: signatureAlgorithmOf(publicKey),
    serial: randomSerial(),
    issuer: name,
    subject: name,
    validity: { notBefore: options.now - options.backdateSeconds * 1000, notAfter: options.now + ROOT_YEARS_MS },
    spki,
    extensions: [
      keyUsage(KEY_USAGE.keyCertSign | KEY_USAGE.cRLSign),
      basicConstraints(true),
      subjectKeyIdentifier(id),
      authorityKeyIdentifier(id),
    ],
  });
}

/** A self-signed root for ten years, `O=organization`, from `now − backdateSeconds` on. */
export function makeRoot(key: KeyObject, options: RootOptions): Certificate {
  return parseCertificate(writeSigned(encodeRoot(createPublicKey(key), options), key));
}

/** The same of a key that is elsewhere. Throws what the signer throws, and `unavailable` when its signature does not hold. */
export async function makeSignerRoot(signer: Signer, options: RootOptions): Promise<Certificate> {
  const body = encodeRoot(signer.publicKey, options);
  const root = parseCertificate(assembleSigned(body, signatureAlgorithmOf(signer.publicKey), await signer.sign(body)));
  if (verifySigned(root.signed, signer.publicKey)) return root;
  throw new AppError("unavailable", "what the CA's signer answered is not a signature by its key");
}
