/** Object identifiers: every one this folder knows, each in the forms that readers and writers need. */
import { hexOf } from "./hex.ts";

/** One identifier: its DER element for writing, the hex of its DER content for comparing. */
export interface ObjectId {
  readonly dotted: string;
  readonly hex: string;
  readonly der: Uint8Array;
}

function base128(value: number): number[] {
  const bytes = [value & 0x7f];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) bytes.unshift((rest & 0x7f) | 0x80);
  return bytes;
}

/** X.690 §8.19: the first two arcs share a byte. */
function objectId(dotted: string): ObjectId {
  const [first = 0, second = 0, ...arcs] = dotted.split(".").map(Number);
  const content = [first * 40 + second, ...arcs].flatMap(base128);
  return { dotted, hex: hexOf(Uint8Array.from(content)), der: Buffer.from([0x06, content.length, ...content]) };
}

export const OID = {
  extensionRequest: objectId("1.2.840.113549.1.9.14"),
  ecPublicKey: objectId("1.2.840.10045.2.1"),
  prime256v1: objectId("1.2.840.10045.3.1.7"),
  secp384r1: objectId("1.3.132.0.34"),
  rsaEncryption: objectId("1.2.840.113549.1.1.1"),
  ed25519: objectId("1.3.101.112"),
  ecdsaWithSha256: objectId("1.2.840.10045.4.3.2"),
  ecdsaWithSha384: objectId("1.2.840.10045.4.3.3"),
  ecdsaWithSha512: objectId("1.2.840.10045.4.3.4"),
  sha256WithRsa: objectId("1.2.840.113549.1.1.11"),
  sha384WithRsa: objectId("1.2.840.113549.1.1.12"),
  sha512WithRsa: objectId("1.2.840.113549.1.1.13"),
  sha256: objectId("2.16.840.1.101.3.4.2.1"),
  data: objectId("1.2.840.113549.1.7.1"),
  signedData: objectId("1.2.840.113549.1.7.2"),
  contentType: objectId("1.2.840.113549.1.9.3"),
  messageDigest: objectId("1.2.840.113549.1.9.4"),
  organizationName: objectId("2.5.4.10"),
  subjectKeyIdentifier: objectId("2.5.29.14"),
  keyUsage: objectId("2.5.29.15"),
  subjectAltName: objectId("2.5.29.17"),
  basicConstraints: objectId("2.5.29.19"),
  cRLNumber: objectId("2.5.29.20"),
  cRLDistributionPoints: objectId("2.5.29.31"),
  reasonCode: objectId("2.5.29.21"),
  nameConstraints: objectId("2.5.29.30"),
  authorityKeyIdentifier: objectId("2.5.29.35"),
  extendedKeyUsage: objectId("2.5.29.37"),
  serverAuth: objectId("1.3.6.1.5.5.7.3.1"),
  clientAuth: objectId("1.3.6.1.5.5.7.3.2"),
} as const satisfies Record<string, ObjectId>;

/** Key algorithms and curves that are refused, so that the refusal can call them by name. */
const REFUSED_KEYS: ReadonlyMap<string, string> = new Map([
  [objectId("1.2.840.113549.1.1.1").hex, "RSA in another form"],
  [objectId("1.2.840.113549.1.1.10").hex, "RSA-PSS"],
  [objectId("1.2.840.10040.4.1").hex, "DSA"],
  [objectId("1.3.101.112").hex, "Ed25519 in another form"],
  [objectId("1.3.101.113").hex, "Ed448"],
  [objectId("1.3.101.110").hex, "X25519"],
  [objectId("1.3.132.0.33").hex, "P-224"],
  [objectId("1.3.132.0.35").hex, "P-521"],
  [objectId("1.3.132.0.10").hex, "secp256k1"],
  [objectId("1.2.840.10045.3.1.1").hex, "P-192"],
  [objectId("2.16.840.1.101.3.4.3.17").hex, "ML-DSA-44"],
  [objectId("2.16.840.1.101.3.4.3.18").hex, "ML-DSA-65"],
]);

/** The name of a key algorithm or curve by the hex of its identifier's content. */
export function keyName(hex: string): string {
  return REFUSED_KEYS.get(hex) ?? "an unknown algorithm";
}
