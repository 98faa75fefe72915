/**
 * `ca/authorities.json`: which authorities there are, once there has been more than one. Keys are in files of their own, written before this file names
 * them and removed after it no longer does, so that a crash leaves the state before a step or the state after it.
 */
import { createPrivateKey } from "node:crypto";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../core/error.ts";
import { type Certificate, parseCertificates } from "../x509/certificate.ts";
import { formatPem } from "../x509/pem.ts";
import type { AuthorityState, OwnAuthority } from "./authorities.ts";
import { authorityId } from "./authority-id.ts";
import { readPrivateFile, replacePrivateFile } from "./state-files.ts";

const FILE = "authorities.json";
const VERSION = 1;
const STATES: readonly unknown[] = ["prepared", "active", "old", "tainted"] satisfies AuthorityState[];
const KEY_FILE = /^ca-key(-[0-9a-f]{40})?\.pem$/;

interface Stored {
  readonly certificate: string;
  readonly keyFile: string;
  readonly state: AuthorityState;
  readonly since: number;
}

function isStored(value: unknown): value is Stored {
  if (typeof value !== "object" || value === null) return false;
  const { certificate, keyFile, state, since } = value as Partial<Record<keyof Stored, unknown>>;
  const texts = typeof certificate === "string" && typeof keyFile === "string" && KEY_FILE.test(keyFile);
  return texts && STATES.includes(state) && typeof since === "number";
}

function broken(where: string, message: string, cause?: unknown): AppError {
  return new AppError("invalid-configuration", message, { where, help: "restore the CA folder from a backup", cause });
}

function parseStored(path: string, text: string): readonly Stored[] {
  try {
    const { version, authorities } = JSON.parse(text) as { readonly version?: unknown; readonly authorities?: unknown };
    if (version === VERSION && Array.isArray(authorities) && authorities.every(isStored)) return authorities;
  } catch {
    // Told below.
  }
  throw broken(path, "the file does not hold the CA's authorities");
}

function openKey(path: string): OwnAuthority["key"] {
  const text = readPrivateFile(path);
  if (text === undefined) throw broken(path, "the key of an authority is missing");
  try {
    return createPrivateKey(text);
  } catch {
    throw broken(path, "the file is damaged: it is not a key");
  }
}

function openAuthority(folder: string, { certificate: pem, keyFile, state, since }: Stored): OwnAuthority {
  const [certificate, ...others] = parseCertificates(pem);
  if (certificate === undefined || others.length > 0) throw broken(join(folder, FILE), "an authority has not one certificate");
  return { id: authorityId(certificate), certificate, key: openKey(join(folder, keyFile)), keyFile, state, since };
}

/**
 * The authorities of the folder, the oldest first; undefined where there is no such file, as there has been one alone. Keys that none of them has are
 * removed. `check` throws for the certificate of another CA. Throws `unsafe-permissions` and `invalid-configuration`.
 */
export function readAuthorities(folder: string, check: (where: string, root: Certificate) => void): readonly OwnAuthority[] | undefined {
  const path = join(folder, FILE);
  const text = readPrivateFile(path);
  if (text === undefined) return undefined;
  const authorities = parseStored(path, text).map((stored) => openAuthority(folder, stored));
  for (const { certificate } of authorities) check(path, certificate);
  if (authorities.filter(({ state }) => state === "active").length !== 1) throw broken(path, "not one authority is active");
  removeOtherKeys(folder, new Set(authorities.map(({ keyFile }) => keyFile)));
  return authorities;
}

/** What a step that was interrupted has left. */
function removeOtherKeys(folder: string, kept: ReadonlySet<string>): void {
  const others = readdirSync(folder).filter((name) => KEY_FILE.test(name) && !kept.has(name));
  for (const name of others) rmSync(join(folder, name));
}

/** On the disk when it returns, whole or not at all; keys that no authority has any more are removed then, or at the next start. */
export function writeAuthorities(folder: string, authorities: readonly OwnAuthority[]): void {
  const stored = authorities.map(
    ({ certificate, keyFile, state, since }): Stored => ({ certificate: formatPem("CERTIFICATE", certificate.der), keyFile, state, since }),
  );
  replacePrivateFile(join(folder, FILE), `${JSON.stringify({ version: VERSION, authorities: stored }, null, 2)}\n`);
  try {
    removeOtherKeys(folder, new Set(authorities.map(({ keyFile }) => keyFile)));
  } catch {
    // The step is done; `readAuthorities` removes them.
  }
}

/** The name of the file for the key of an authority that is new. */
export function keyFileOf(id: string): string {
  return `ca-key-${id}.pem`;
}
