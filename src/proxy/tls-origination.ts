/** TLS that is not the mesh's: to servers that have certificates of their own (SN-7). */
import { X509Certificate } from "node:crypto";
import { open } from "node:fs/promises";
import { createSecureContext, type SecureContext } from "node:tls";
import type { TlsOrigination } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { Protocol, ServerName } from "../policy/model.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { readSystemRoots } from "../x509/system-roots.ts";
import { tlsParameters } from "./tls.ts";

/** What a server outside knows to choose from; over TCP the application's protocol is its own. */
export const ORIGINATION_ALPN = { http: ["http/1.1"], http2: ["h2"], tcp: [] } as const satisfies Record<Protocol, readonly string[]>;

/** How long files are taken as they were read. */
const FRESH_MS = 30_000;
/** A bundle of all public roots has about 220 KiB. */
const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** A file in whole. Only regular files: others may have no end. */
async function readBounded(path: string): Promise<string> {
  const file = await open(path, "r");
  try {
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > MAX_FILE_BYTES) throw new Error("is no file of a reasonable size");
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

async function readPem(path: string): Promise<string> {
  try {
    return await readBounded(path);
  } catch (cause) {
    throw new AppError("unavailable", `cannot read \`${path}\``, { cause });
  }
}

/** Throws where a file cannot be read, or holds nothing of use: then nothing is sent. */
async function contextOf({ verify, certificate }: TlsOrigination): Promise<SecureContext> {
  const ca = verify === "nothing" ? undefined : verify.roots === undefined ? readSystemRoots() : await readPem(verify.roots);
  // OpenSSL takes an empty text for "none", and Node then its own roots.
  if (ca === "") throw new AppError("unavailable", "there are no roots to verify the server by");
  const crl = verify === "nothing" || verify.crl === undefined ? undefined : await readPem(verify.crl);
  const pair = certificate && { cert: await readPem(certificate.clientCertificate), key: await readPem(certificate.privateKey) };
  try {
    // Node passes over what it cannot read among roots.
    if (ca !== undefined) new X509Certificate(ca);
    return createSecureContext({ ...tlsParameters(), ...(ca === undefined ? {} : { ca }), ...(crl === undefined ? {} : { crl }), ...pair });
  } catch (cause) {
    throw new AppError("unavailable", "the certificates or the key for the server cannot be used", { cause });
  }
}

/** The context of one service, made anew after a while, so that changed files come into use. */
export class OriginationContext {
  readonly tls: TlsOrigination;
  #context: Promise<SecureContext> | undefined;
  #until = 0;

  constructor(tls: TlsOrigination) {
    this.tls = tls;
  }

  /** Rejects with `unavailable` for files that cannot be used. */
  get(): Promise<SecureContext> {
    if (this.#context !== undefined && performance.now() < this.#until) return this.#context;
    const made = contextOf(this.tls);
    this.#context = made;
    this.#until = performance.now() + FRESH_MS;
    made.catch(() => {
      if (this.#context === made) this.#context = undefined;
    });
    return made;
  }
}

function holds(certificate: X509Certificate, der: Uint8Array, { kind, value }: ServerName): boolean {
  // Names alone, as in Envoy: a subject's common name counts for nothing (RFC 6125 §6.4.4).
  if (kind === "dns") return certificate.checkHost(value, { subject: "never", partialWildcards: false }) !== undefined;
  if (kind === "ip") return certificate.checkIP(value) !== undefined;
  return parseCertificate(der).names.some((name) => name.kind === "uri" && name.value === value);
}

/** Why the server of a verified certificate is none that is meant; undefined when it is one. */
export function serverNameFlaw(der: Uint8Array, names: readonly ServerName[]): AppError | undefined {
  const wanted = names.map(({ value }) => `\`${value}\``).join(" or ");
  try {
    const certificate = new X509Certificate(der);
    if (names.some((name) => holds(certificate, der, name))) return undefined;
    return new AppError("permission-denied", `the server's certificate is not for ${wanted}`);
  } catch (thrown) {
    return new AppError("permission-denied", `the server's certificate cannot be read: ${AppError.from(thrown).message}`, {
      cause: thrown,
    });
  }
}
