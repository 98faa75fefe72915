/** What the workload's proxy may fetch by SDS: its key with its chain, the mesh's roots, and the machine's (Istio's names, AG-2). */
import { createHash } from "node:crypto";
import { readSystemRoots } from "../x509/system-roots.ts";
import { exportKey, type IssuedCertificate } from "./issued-certificate.ts";
import { encodeKeyAndChain, encodeTrustedRoots, type NamedSecret } from "./sds-messages.ts";

export const SECRET_NAMES = ["default", "ROOTCA", "file-root:system"] as const;

export type SecretName = (typeof SECRET_NAMES)[number];

/** Its version names the contents and tells nothing of them: the certificate's serial number, the digest of the roots. */
export interface VersionedSecret extends NamedSecret {
  readonly name: SecretName;
}

export function isSecretName(name: string): name is SecretName {
  return (SECRET_NAMES as readonly string[]).includes(name);
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** With no root on the machine the mesh's own stand in: no server outside has a certificate by them. */
function systemRoots(meshRoots: string): string {
  const roots = readSystemRoots();
  return roots === "" ? meshRoots : roots;
}

function secretsOf({ chain, privateKey, roots, serial }: IssuedCertificate): readonly VersionedSecret[] {
  const system = systemRoots(roots);
  return [
    { name: "default", version: serial, body: encodeKeyAndChain("default", chain, exportKey(privateKey)) },
    { name: "ROOTCA", version: digestOf(roots), body: encodeTrustedRoots("ROOTCA", roots) },
    { name: "file-root:system", version: digestOf(system), body: encodeTrustedRoots("file-root:system", system) },
  ];
}

/** The secrets of the moment; the streams of the SDS server read and watch it. */
export class SecretStore {
  readonly #secrets = new Map<SecretName, VersionedSecret>();
  readonly #listeners = new Set<() => void>();

  /** Undefined until the first certificate. */
  get(name: SecretName): VersionedSecret | undefined {
    return this.#secrets.get(name);
  }

  /** Takes a new certificate in. What did not change keeps its version, so that nobody is sent it again. */
  update(certificate: IssuedCertificate): void {
    for (const secret of secretsOf(certificate)) this.#secrets.set(secret.name, secret);
    for (const listener of this.#listeners) listener();
  }

  /** Told of each change. Returns what ends it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
