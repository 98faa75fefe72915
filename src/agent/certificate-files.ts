/**
 * The certificate as files, for programs that want files: `key.pem`, `cert-chain.pem`, `root-cert.pem` (AG-8), and the folder `bundles` with the roots of each
 * trust domain, each a link through `..data` into a folder of one generation. All change at one moment, with `..data`; a reader that opens a folder or resolves
 * `..data` once never sees a key beside another's certificate. The generation before stays for readers that are at it.
 */
import { createPrivateKey } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { AppError } from "../core/error.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { parseCertificates, svidIdentity } from "../x509/certificate.ts";
import { checkIssuedCertificate, exportKey, type IssuedCertificate } from "./issued-certificate.ts";

const NAMES = { key: "key.pem", chain: "cert-chain.pem", roots: "root-cert.pem" } as const;
/** `TRUST-DOMAIN.pem` of each, since roots of several domains in one file would vouch for each other's identities. */
const BUNDLES = "bundles";
const BUNDLE_FILE = /^(.+)\.pem$/;
/** Of a file's name, without `.pem`. */
const MAX_NAME = 251;
const LINKS = [...Object.values(NAMES), BUNDLES] as const;
const DATA = "..data";
const GENERATION = /^\.\.[0-9a-f]{1,40}-\d+$/;

/** Makes the folder (0700), or checks that an existing one is this user's, that nobody else writes there, and that it holds nothing else by those names. Returns its absolute path. Throws `unsafe-permissions`, `already-exists`, `invalid-argument`. */
export function openCertificateFolder(folder: string): string {
  const path = resolve(folder);
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new AppError("invalid-argument", `the folder \`${path}\` for certificates cannot be made`, { cause, help: "name another one" });
  }
  const stat = lstatSync(path);
  const uid = process.geteuid?.();
  if (!stat.isDirectory() || (uid !== undefined && stat.uid !== uid) || (stat.mode & 0o022) !== 0) {
    throw new AppError("unsafe-permissions", `others may write to the folder \`${path}\`, or it is another's`, {
      help: `the private key is written there: run \`chmod go-w ${path}\`, or name a folder of your own`,
    });
  }
  for (const name of LINKS) {
    if (lstatSync(join(path, name), { throwIfNoEntry: false })?.isSymbolicLink() !== false) continue;
    throw new AppError("already-exists", `\`${join(path, name)}\` is there already, and not of this agent's making`, {
      help: "move it away, or name another folder",
    });
  }
  return path;
}

function writeSynced(path: string, text: string): void {
  const file = openSync(path, "wx", 0o600);
  try {
    // All of it: on a disk that is about to be full `write` takes a part, and says so by its count alone.
    writeFileSync(file, text);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function link(target: string, path: string): void {
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  symlinkSync(target, draft);
  renameSync(draft, path);
}

function currentGeneration(folder: string): string | undefined {
  try {
    return readlinkSync(join(folder, DATA));
  } catch {
    return undefined;
  }
}

function writeBundles(folder: string, { identity, roots, otherRoots = new Map() }: IssuedCertificate): void {
  mkdirSync(folder, { mode: 0o700 });
  // It is a name before it is a path; one that no file can have is left out.
  for (const [trustDomain, pem] of [...otherRoots, [parseSpiffeId(identity).trustDomain, roots] as const])
    if (parseTrustDomain(trustDomain).length <= MAX_NAME) writeSynced(join(folder, `${trustDomain}.pem`), pem);
}

/** The trust domains whose roots are there as files. */
export function trustDomainsInFiles(folder: string): readonly string[] {
  try {
    const names = readdirSync(join(folder, currentGeneration(folder) ?? "", BUNDLES));
    return names.flatMap((name) => BUNDLE_FILE.exec(name)?.[1] ?? []).sort();
  } catch {
    return [];
  }
}

/** Two of one moment are told apart. */
function nextGeneration(folder: string, serial: string): string {
  let number = Date.now();
  while (existsSync(join(folder, `..${serial}-${number}`))) number += 1;
  return `..${serial}-${number}`;
}

/** Puts the certificate, and the roots of all trust domains, in place of those before. Throws what the file system does. */
export function writeCertificateFiles(folder: string, certificate: IssuedCertificate): void {
  const { privateKey, chain, roots, serial } = certificate;
  const before = currentGeneration(folder);
  const generation = nextGeneration(folder, serial);
  const path = join(folder, generation);
  mkdirSync(path, { mode: 0o700 });
  const texts = { key: exportKey(privateKey), chain, roots };
  for (const name of ["key", "chain", "roots"] as const) writeSynced(join(path, NAMES[name]), texts[name]);
  writeBundles(join(path, BUNDLES), certificate);
  link(generation, join(folder, DATA));
  for (const name of LINKS) {
    const file = join(folder, name);
    if (lstatSync(file, { throwIfNoEntry: false }) === undefined) link(`${DATA}/${name}`, file);
  }
  const old = readdirSync(folder).filter((name) => GENERATION.test(name) && name !== generation && name !== before);
  for (const name of old) rmSync(join(folder, name), { recursive: true, force: true });
}

/** The certificate of an earlier run, if it is whole and still good; `identity` where it must be that one. Undefined otherwise. */
export function readCertificateFiles(folder: string, now: number, identity?: string): IssuedCertificate | undefined {
  try {
    const path = join(folder, currentGeneration(folder) ?? "");
    const read = (name: string) => readFileSync(join(path, name), "utf8");
    const elements = [read(NAMES.chain), read(NAMES.roots)];
    const [leaf] = parseCertificates(elements[0] ?? "");
    if (leaf === undefined) return undefined;
    const found = identity ?? formatSpiffeId(svidIdentity(leaf));
    return checkIssuedCertificate({ elements, privateKey: createPrivateKey(read(NAMES.key)), identity: found, now });
  } catch {
    // Nothing there, or nothing that is any good: a new one is asked for.
    return undefined;
  }
}
