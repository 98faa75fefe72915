/** Certificate requests that no agent sends, and a certificate that nobody issued. */
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { generateKey, spkiOf } from "../../src/x509/csr-builder.ts";
import { bitString, element, sequence, set, unsignedInteger } from "../../src/x509/der-writer.ts";
import { basicConstraints, extendedKeyUsage, extension, KEY_USAGE, keyUsage } from "../../src/x509/extensions.ts";
import { formatGeneralNames } from "../../src/x509/general-names.ts";
import { hexOf } from "../../src/x509/hex.ts";
import { KEY_KINDS, signatureAlgorithmOf } from "../../src/x509/key-kinds.ts";
import { OID } from "../../src/x509/oids.ts";
import { formatPem } from "../../src/x509/pem.ts";
import { writeSigned } from "../../src/x509/signed.ts";
import { encodeTbs, randomSerial } from "../../src/x509/tbs.ts";

const DAY_MS = 86_400_000;

interface KeyKind {
  readonly key: () => KeyObject;
  /** DER of the signature's AlgorithmIdentifier. */
  readonly algorithm: string;
  readonly digest: string | null;
}

/** Keys that others use (RFC 4055, RFC 5758, RFC 8410). */
export const OTHER_KEYS = {
  "RSA-2048": {
    key: () => generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey,
    algorithm: "300d06092a864886f70d01010b0500",
    digest: "sha256",
  },
  "P-384": {
    key: () => generateKeyPairSync("ec", { namedCurve: "P-384" }).privateKey,
    algorithm: "300a06082a8648ce3d040303",
    digest: "sha384",
  },
  Ed25519: { key: () => generateKeyPairSync("ed25519").privateKey, algorithm: "300506032b6570", digest: null },
} as const satisfies Readonly<Record<string, KeyKind>>;

/** A request for `uri` with the public part of `holder`, signed by `signer`. */
function writeCsr(holder: KeyObject, signer: KeyObject, { algorithm, digest }: Omit<KeyKind, "key">, uri: string): string {
  const names = extension(OID.subjectAltName, true, formatGeneralNames(uri));
  const attributes = element(0xa0, sequence(OID.extensionRequest.der, set(sequence(names))));
  const body = sequence(unsignedInteger(Buffer.from([0])), sequence(), spkiOf(holder), attributes);
  return formatPem("CERTIFICATE REQUEST", sequence(body, Buffer.from(algorithm, "hex"), bitString(sign(digest, body, signer))));
}

/** A well-signed request with another kind of key. */
export function csrOf(kind: KeyKind, uri: string): string {
  const key = kind.key();
  return writeCsr(key, key, kind, uri);
}

/** A request with somebody else's public key. */
export function stolenCsr(uri: string): string {
  return writeCsr(generateKey(), generateKey(), { algorithm: hexOf(KEY_KINDS.p256.signature.identifier), digest: "sha256" }, uri);
}

/** A key with a certificate that it signed itself, which claims `identity`. */
export function selfSigned(identity: string): TlsMaterial {
  const key = generateKey();
  const now = Math.floor(Date.now() / 1000) * 1000;
  const tbs = encodeTbs({
    algorithm: signatureAlgorithmOf(key),
    serial: randomSerial(),
    issuer: sequence(),
    subject: sequence(),
    validity: { notBefore: now - DAY_MS, notAfter: now + DAY_MS },
    spki: spkiOf(key),
    extensions: [
      keyUsage(KEY_USAGE.digitalSignature),
      extendedKeyUsage(OID.serverAuth, OID.clientAuth),
      basicConstraints(false),
      extension(OID.subjectAltName, true, formatGeneralNames(identity)),
    ],
  });
  const chain = formatPem("CERTIFICATE", writeSigned(tbs, key));
  return { key: String(key.export({ type: "pkcs8", format: "pem" })), chain, roots: chain };
}
