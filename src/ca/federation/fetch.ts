/** A bundle from the endpoint of another trust domain: HTTPS, no redirects, bounded in size and time (SPIFFE Federation §5). */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import type { LookupFunction } from "node:net";
import type { PeerCertificate } from "node:tls";
import { AppError } from "../../core/error.ts";
import { parseCertificate } from "../../x509/certificate.ts";
import type { Relation } from "./relations.ts";

const MAX_BYTES = 1_048_576;
const TIMEOUT_MS = 10_000;

/** The server's only name is the endpoint's (SPIFFE Federation §5.2.2). */
function spiffeFlaw(certificate: PeerCertificate, endpointSpiffeId: string): Error | undefined {
  const uris = parseCertificate(certificate.raw).names.filter(({ kind }) => kind === "uri");
  const [uri, ...others] = uris;
  if (uri?.value === endpointSpiffeId && others.length === 0) return undefined;
  return new AppError("permission-denied", `the endpoint is not \`${endpointSpiffeId}\``);
}

/** Without a certificate in the file, Node would take the machine's CAs. */
function readCas(file: string): string {
  const text = readFileSync(file, "utf8");
  if (text.includes("-----BEGIN CERTIFICATE-----")) return text;
  throw new AppError("invalid-configuration", `there is no certificate in \`${file}\` to verify the endpoint with`);
}

/** How the endpoint is verified; `roots` are those of the domain's newest bundle, PEM. */
function verification({ proof }: Relation, roots: string) {
  if (proof.profile === "https_web") return proof.caFile === undefined ? {} : { ca: readCas(proof.caFile) };
  // Without a root of theirs, Node would take the machine's.
  if (roots === "") throw new AppError("unavailable", "there is no root to verify the endpoint with");
  return {
    ca: roots,
    checkServerIdentity: (_name: string, certificate: PeerCertificate) => spiffeFlaw(certificate, proof.endpointSpiffeId),
  };
}

export interface FetchBundleOptions {
  readonly timeoutMs?: number;
  /** Resolves the endpoint's name; the system does without. */
  readonly lookup?: LookupFunction;
}

/** The bundle's document. Throws `unavailable`, `deadline-exceeded`, `permission-denied` and `resource-exhausted`. */
export function fetchBundle(
  relation: Relation,
  roots: string,
  { timeoutMs = TIMEOUT_MS, lookup }: FetchBundleOptions = {},
): Promise<string> {
  const signal = AbortSignal.timeout(timeoutMs);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const fail = (cause: unknown) => {
    if (cause instanceof AppError) return reject(cause);
    if (signal.aborted) return reject(new AppError("deadline-exceeded", `there was no whole bundle in ${timeoutMs} ms`, { cause }));
    return reject(new AppError("unavailable", `the endpoint cannot be asked: ${AppError.from(cause).message.slice(0, 300)}`, { cause }));
  };
  try {
    const resolver = lookup === undefined ? {} : { lookup };
    const options = {
      agent: false,
      signal,
      ...resolver,
      headers: { accept: "application/json", "user-agent": "garrison" },
      maxHeaderSize: 16_384,
    };
    const call = request(relation.url, { ...options, ...verification(relation, roots), rejectUnauthorized: true });
    call.on("error", fail);
    call.on("response", (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("error", fail);
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        chunks.push(chunk);
        if (size > MAX_BYTES) response.destroy(new AppError("resource-exhausted", `the bundle has more than ${MAX_BYTES} bytes`));
      });
      response.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
      if (response.statusCode !== 200)
        response.destroy(new AppError("unavailable", `the endpoint answers with status ${response.statusCode}`));
    });
    call.end();
  } catch (thrown) {
    fail(thrown);
  }
  return promise;
}
