/** What the workload's proxy may fetch by SDS: its key with its chain, the roots that it trusts and those of the machine, and files that the operator allowed (Istio's names, AG-2). */
import { createHash } from "node:crypto";
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { readSystemRoots } from "../x509/system-roots.ts";
import { type FileSecrets, isFileSecret } from "./file-secrets.ts";
import { exportKey, type IssuedCertificate } from "./issued-certificate.ts";
import { encodeBoundRoots, encodeKeyAndChain, encodeTrustedRoots, type NamedSecret } from "./sds-messages.ts";

/** The roots that the machine trusts, for servers outside the mesh. */
const SYSTEM_ROOTS = "file-root:system";

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** The roots by which servers of the own trust domain are verified: with lists of those that are revoked, which callers need not be, since policies refuse them and say so. */
export const SERVER_ROOTS = "ROOTCA-SERVERS";

export type Trusted = Pick<IssuedCertificate, "roots" | "otherRoots" | "revocationLists">;

/** The version of the secret of these roots. */
export function rootsVersion({ roots, otherRoots }: Trusted): string {
  return digestOf(otherRoots === undefined ? roots : JSON.stringify([roots, [...otherRoots]]));
}

/** The version of the secret of the same with what is revoked. */
export function serverRootsVersion({ revocationLists = "", ...trusted }: Trusted): string {
  return revocationLists === "" ? rootsVersion(trusted) : digestOf(rootsVersion(trusted) + revocationLists);
}

/** Lists are of servers of the own trust domain, which its roots alone verify: Envoy's validator of bound roots knows no lists. */
function encodeServerRoots(trustDomain: string, certificate: Trusted): Buffer {
  const { roots, revocationLists = "" } = certificate;
  if (revocationLists === "") return encodeRoots(SERVER_ROOTS, trustDomain, certificate);
  return encodeTrustedRoots(SERVER_ROOTS, roots, revocationLists);
}

/** With roots of other domains each is bound to its own: in one heap, any of them could sign any identity. */
function encodeRoots(name: string, trustDomain: string, { roots, otherRoots }: Trusted): Buffer {
  if (otherRoots === undefined) return encodeTrustedRoots(name, roots);
  return encodeBoundRoots(name, new Map([...otherRoots, [trustDomain, roots]]));
}

/** With no root on the machine the mesh's own stand in: no server outside has a certificate by them. */
function systemRoots(meshRoots: string): NamedSecret {
  const found = readSystemRoots();
  const roots = found === "" ? meshRoots : found;
  return { name: SYSTEM_ROOTS, version: digestOf(roots), body: encodeTrustedRoots(SYSTEM_ROOTS, roots) };
}

/** The workload's key and chain, and the roots, also by SPIFFE ID and trust domain (as SPIRE's agent has them). */
function secretsOf(certificate: IssuedCertificate): readonly NamedSecret[] {
  const { chain, privateKey, roots, serial, identity } = certificate;
  const version = rootsVersion(certificate);
  const { trustDomain } = parseSpiffeId(identity);
  const key = exportKey(privateKey);
  return [
    ...["default", identity].map((name) => ({ name, version: serial, body: encodeKeyAndChain(name, chain, key) })),
    ...["ROOTCA", trustDomainOf(identity)].map((name) => ({ name, version, body: encodeRoots(name, trustDomain, certificate) })),
    { name: SERVER_ROOTS, version: serverRootsVersion(certificate), body: encodeServerRoots(trustDomain, certificate) },
    systemRoots(roots),
  ];
}

const trustDomainOf = (identity: string) => `spiffe://${parseSpiffeId(identity).trustDomain}`;

/** The secrets of the moment; the streams of the SDS server read and watch it. */
export class SecretStore {
  readonly #names: readonly string[];
  readonly #files: FileSecrets | undefined;
  readonly #secrets = new Map<string, NamedSecret>();
  readonly #listeners = new Set<() => void>();

  constructor(identity: string, files?: FileSecrets) {
    this.#names = ["default", "ROOTCA", SERVER_ROOTS, identity, trustDomainOf(identity), SYSTEM_ROOTS];
    this.#files = files;
    files?.subscribe(() => this.#tell());
  }

  /** Throws `not-found` for a name that there is not and never will be, `permission-denied` for a file that is not allowed. */
  check(name: string): void {
    if (this.#names.includes(name)) return;
    if (!isFileSecret(name)) {
      throw new AppError("not-found", `there is no secret \`${name.slice(0, 300)}\``, {
        help: `the secrets of this workload are ${this.#names.map((known) => `\`${known}\``).join(", ")}`,
      });
    }
    if (this.#files === undefined)
      throw new AppError("permission-denied", `the secret \`${name.slice(0, 300)}\` is of files, and the agent may serve none`, {
        help: "start it with --sds-files FOLDER",
      });
    this.#files.open(name);
  }

  /** A secret's version names its contents and tells nothing of them: a serial number, a digest of what is public. Undefined until the first certificate. */
  get(name: string): NamedSecret | undefined {
    return this.#secrets.get(name) ?? this.#files?.get(name);
  }

  /** Takes a new certificate in. What did not change keeps its version, so that nobody is sent it again. */
  update(certificate: IssuedCertificate): void {
    for (const secret of secretsOf(certificate)) this.#secrets.set(secret.name, secret);
    this.#tell();
  }

  /** Told of each change. Returns what ends it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }
}
