/** The workload's side: a key that never leaves the process, and the request for its certificate. */
import { createPublicKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { element, sequence, set, unsignedInteger } from "./der-writer.ts";
import { extension } from "./extensions.ts";
import { formatGeneralNames } from "./general-names.ts";
import { OID } from "./oids.ts";
import { formatPem } from "./pem.ts";
import { writeSigned } from "./signed.ts";

/** A new P-256 private key. */
export function generateKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

/** The SubjectPublicKeyInfo of a private key. */
export function spkiOf(privateKey: KeyObject): Uint8Array {
  return createPublicKey(privateKey).export({ type: "spki", format: "der" });
}

/** A PEM certificate request for `privateKey` (P-256) that asks for the one URI name, with an empty subject. */
export function buildCsr(privateKey: KeyObject, uri: string): string {
  const names = extension(OID.subjectAltName, true, formatGeneralNames(uri));
  const attribute = sequence(OID.extensionRequest.der, set(sequence(names)));
  const body = sequence(unsignedInteger(Buffer.from([0])), sequence(), spkiOf(privateKey), element(0xa0, attribute));
  return formatPem("CERTIFICATE REQUEST", writeSigned(body, privateKey));
}
