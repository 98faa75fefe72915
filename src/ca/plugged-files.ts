/** A CA that the operator brings, as files: Istio's names (`cacerts`), or those of a TLS secret (CA-12). */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { closeSync, existsSync, fstatSync, openSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../core/error.ts";
import { type Certificate, parseCertificates } from "../x509/certificate.ts";
import type { Signer } from "../x509/signer.ts";
import type { SigningMaterial } from "./signing-set.ts";

/** The names of one format. Links are followed: a mounted secret consists of them. */
interface Format {
  readonly certificate: string;
  readonly key: string;
  readonly roots: string;
  /** May be missing. */
  readonly chain: string | undefined;
}

const ISTIO: Format = { certificate: "ca-cert.pem", key: "ca-key.pem", roots: "root-cert.pem", chain: "cert-chain.pem" };
const TLS: Format = { certificate: "tls.crt", key: "tls.key", roots: "ca.crt", chain: undefined };
const CRL = "ca-crl.pem";
const MAX_BYTES = 256 * 1024;
const GROUP_WRITES_OR_OTHERS = 0o027;
const OTHERS_WRITE = 0o022;

/** The text of each file, as read. */
export interface PluggedFiles {
  readonly format: Format;
  readonly folder: string;
  readonly texts: Readonly<Record<"certificate" | "roots", string>> & {
    readonly chain: string /** Absent where the key is elsewhere. */;
    readonly key?: string;
  };
}

function broken(where: string, message: string, help: string): AppError {
  return new AppError("invalid-configuration", message, { where, help });
}

/** The key may be the group's to read, as in a mounted secret, and nobody else's. */
function checkMode(path: string, mode: number, uid: number, forbidden: number): void {
  const user = process.getuid?.();
  if (user !== undefined && uid !== user && uid !== 0) {
    throw new AppError("unsafe-permissions", `\`${path}\` belongs to user ${uid}, and this process is user ${user}`, {
      help: `chown ${user} ${path}`,
    });
  }
  if ((mode & forbidden) === 0) return;
  const text = (mode & 0o7777).toString(8).padStart(4, "0");
  throw new AppError("unsafe-permissions", `\`${path}\` can be used by others (mode ${text})`, { help: `chmod go-w,o-r ${path}` });
}

/** The text of a secret that may be the group's to read, as a mounted one is. Throws `invalid-configuration` and `unsafe-permissions`. */
export function readSecret(path: string): string {
  if (!existsSync(path)) throw broken(path, "there is no such file", "make it, for this user alone to read");
  return readBounded(path, GROUP_WRITES_OR_OTHERS);
}

function readBounded(path: string, forbidden: number): string {
  const file = openSync(path, "r");
  try {
    const { mode, uid, size, isFile } = plain(file);
    if (!isFile || size > MAX_BYTES)
      throw broken(path, `the file is none of at most ${MAX_BYTES} bytes`, "put the certificates there alone");
    checkMode(path, mode, uid, forbidden);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

function plain(file: number) {
  const stats = fstatSync(file);
  return { mode: stats.mode, uid: stats.uid, size: stats.size, isFile: stats.isFile() };
}

function formatOf(folder: string): Format {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw broken(folder, "there is no such folder of a CA", `make it, with ${Object.values(ISTIO).join(", ")}`);
  const has = (format: Format) => [format.certificate, format.key].some((name) => existsSync(join(folder, name)));
  if (has(ISTIO) && has(TLS))
    throw broken(folder, "the folder holds two CAs", `keep ${ISTIO.key} and its companions, or ${TLS.key} and its`);
  if (existsSync(join(folder, CRL)))
    throw broken(
      join(folder, CRL),
      "revocation lists are not supported yet",
      "take the file out: certificates that it lists would be accepted",
    );
  return has(TLS) ? TLS : ISTIO;
}

function refuseKey(path: string): void {
  if (!existsSync(path)) return;
  throw broken(path, "the CA's key is in a token, and here is one as well", "take the file away, or start without the token");
}

/** Without the key where it is elsewhere: then it must not be here. Throws `invalid-configuration` for a file that is missing or too large, `unsafe-permissions` for one that others may use. */
export function readPluggedFiles(folder: string, keyElsewhere = false): PluggedFiles {
  const format = formatOf(folder);
  if (keyElsewhere) refuseKey(join(folder, format.key));
  const read = (name: string, forbidden: number): string => {
    const path = join(folder, name);
    if (!existsSync(path))
      throw broken(path, "the file is missing beside the others of the CA", "a CA has a certificate, its key, and the roots");
    return readBounded(path, forbidden);
  };
  const hasChain = format.chain !== undefined && existsSync(join(folder, format.chain));
  const texts = {
    certificate: read(format.certificate, OTHERS_WRITE),
    ...(keyElsewhere ? {} : { key: read(format.key, GROUP_WRITES_OR_OTHERS) }),
    roots: read(format.roots, OTHERS_WRITE),
    chain: hasChain && format.chain !== undefined ? read(format.chain, OTHERS_WRITE) : "",
  };
  return { format, folder, texts };
}

/** The certificates of a text; what stands around the blocks is for people (RFC 7468 §2). */
function certificatesOf(where: string, text: string): readonly Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  try {
    return parseCertificates(blocks.join("\n"));
  } catch (error) {
    throw broken(where, `the file is damaged: ${AppError.from(error).message}`, "put PEM certificates there");
  }
}

/** Nothing of the text gets into a message. */
function keyOf(where: string, text: string): KeyObject {
  if (/ENCRYPTED/.test(text))
    throw broken(
      where,
      "the key is encrypted, and nobody is there to give its password",
      "decrypt it: openssl pkey -in KEY -out ca-key.pem",
    );
  try {
    return createPrivateKey(text);
  } catch {
    throw broken(where, "the file is no private key in PEM", "put a PKCS #8 key there: openssl pkey -in KEY -out ca-key.pem");
  }
}

/** What the files hold, with the key that is elsewhere; nothing is said yet of how it fits together. Throws `invalid-configuration`. */
export function parsePluggedFiles({ format, folder, texts }: PluggedFiles, signer?: Signer): SigningMaterial {
  const at = (name: string) => join(folder, name);
  const [certificate, ...rest] = certificatesOf(at(format.certificate), texts.certificate);
  if (certificate === undefined) throw broken(at(format.certificate), "the file has no certificate", "put the CA's certificate there");
  const chain = texts.chain.trim() === "" ? [] : certificatesOf(at(format.chain ?? ""), texts.chain);
  return {
    certificate,
    key: signer ?? keyOf(at(format.key), texts.key ?? ""),
    intermediates: [...rest, ...chain],
    roots: certificatesOf(at(format.roots), texts.roots),
  };
}
