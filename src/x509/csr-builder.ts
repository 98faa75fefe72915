/** The workload's side: a key that never leaves the process, and the request for its certificate. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { element, sequence, set, unsignedInteger } from "./der-writer.ts";
import { extension } from "./extensions.ts";
import { formatGeneralNames } from "./general-names.ts";
import { type KeyKind, signatureAlgorithmOf } from "./key-kinds.ts";
import { OID } from "./oids.ts";
import { formatPem } from "./pem.ts";
import { assembleSigned, writeSigned } from "./signed.ts";
import type { Signer } from "./signer.ts";
import { organizationName } from "./tbs.ts";

/** A new private key; RSA of 2048 bits. */
export function generateKey(kind: KeyKind["name"] = "P-256"): KeyObject {
  if (kind === "RSA") return generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  if (kind === "Ed25519") return generateKeyPairSync("ed25519").privateKey;
  return generateKeyPairSync("ec", { namedCurve: kind }).privateKey;
}

/** The SubjectPublicKeyInfo of a private key. */
export function spkiOf(privateKey: KeyObject): Uint8Array {
  return createPublicKey(privateKey).export({ type: "spki", format: "der" });
}

/** A PEM certificate request for `privateKey` that asks for the one URI name, with an empty subject. */
export function buildCsr(privateKey: KeyObject, uri: string): string {
  const names = extension(OID.subjectAltName, true, formatGeneralNames(uri));
  const attribute = sequence(OID.extensionRequest.der, set(sequence(names)));
  const body = sequence(unsignedInteger(Buffer.from([0])), sequence(), spkiOf(privateKey), element(0xa0, attribute));
  return formatPem("CERTIFICATE REQUEST", writeSigned(body, privateKey));
}

/** A PEM certificate request of a key that is elsewhere, for the subject `O=organization`: what a CA above it is given. Throws what the signer throws. */
export async function buildCaCsr(signer: Signer, organization: string): Promise<string> {
  const spki = signer.publicKey.export({ type: "spki", format: "der" });
  const body = sequence(unsignedInteger(Buffer.from([0])), organizationName(organization), spki, element(0xa0));
  return formatPem("CERTIFICATE REQUEST", assembleSigned(body, signatureAlgorithmOf(signer.publicKey), await signer.sign(body)));
}
