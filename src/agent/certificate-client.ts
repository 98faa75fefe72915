/**
 * Asks the control plane for certificates: `istio.v1.auth.IstioCertificateService/CreateCertificate`, with a new key each
 * time.
 */

import { Metadata, type ServiceError } from "@grpc/grpc-js";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import type { CertificateAnswer, RequestCertificate } from "./certificate-manager.ts";
import { type ControlPlane, callControlPlane } from "./control-plane-call.ts";
import { CREATE_CERTIFICATE } from "./csr-messages.ts";
import { checkIssuedCertificate, type IssuedCertificate, leadsToRoots } from "./issued-certificate.ts";
import { bearer, type TokenSource } from "./token-source.ts";

export interface CertificateClientOptions {
  /** The workload's SPIFFE ID. */
  readonly identity: string;
  readonly controlPlane: ControlPlane;
  /** PEM; read at each call, so that a changed file counts. */
  readonly rootCertificateFile: string;
  /** Asked at each call (AG-6): tokens are replaced long before they expire. */
  readonly token: TokenSource;
  /** 0 for the control plane's default. */
  readonly ttlSeconds: number;
  readonly clock: Clock;
  /** How long one call may take, with its connection; 10 s without. */
  readonly deadlineMs?: number;
}

const DEADLINE_MS = 10_000;

/** The request that a `CertificateManager` makes. It never throws: every failure is an answer. */
export function createCertificateClient(options: CertificateClientOptions): RequestCertificate {
  return async (current) => {
    try {
      return { kind: "issued", certificate: await requestCertificate(options, current) };
    } catch (thrown) {
      return failed(AppError.from(thrown));
    }
  };
}

/** How the control plane says that it knows nobody by the certificate that it was shown: its authority was revoked, and the agent was away. */
const UNKNOWN_AUTHORITY = /\bclient certificate: not presented\b/;

/** With the certificate that there is; by a token where that one proves nothing any more. */
async function requestCertificate(options: CertificateClientOptions, current: IssuedCertificate | undefined): Promise<IssuedCertificate> {
  const certificate = current !== undefined && leadsToRoots(current, options.clock.now()) ? current : undefined;
  try {
    return await requestWith(options, certificate, current?.roots);
  } catch (thrown) {
    const { code, message } = AppError.from(thrown);
    if (certificate === undefined || code !== "unauthenticated" || !UNKNOWN_AUTHORITY.test(message)) throw thrown;
    return requestWith(options, undefined, current?.roots);
  }
}

async function requestWith(
  options: CertificateClientOptions,
  certificate: IssuedCertificate | undefined,
  roots: string | undefined,
): Promise<IssuedCertificate> {
  const { identity, controlPlane, rootCertificateFile, clock, ttlSeconds, deadlineMs = DEADLINE_MS } = options;
  const metadata = bearer(await tokenOf(options.token, certificate !== undefined));
  const privateKey = generateKey();
  const call = { controlPlane, rootCertificateFile, certificate, roots, metadata, deadlineMs };
  const elements = await callControlPlane(call, CREATE_CERTIFICATE, { csr: buildCsr(privateKey, identity), ttlSeconds });
  return checkIssuedCertificate({ elements, privateKey, identity, now: clock.now() });
}

/** Where there is a certificate to present, a token that cannot be had stops nothing. */
async function tokenOf(source: TokenSource, certified: boolean): Promise<string | undefined> {
  try {
    return await source(certified);
  } catch (thrown) {
    if (certified) return undefined;
    throw thrown;
  }
}

/** The least wait that the server asks for, in `grpc-retry-pushback-ms` (gRPC's retry design, A6), as it says when it is busy. */
function failed(error: AppError): CertificateAnswer {
  const { cause } = error;
  const hint = isServiceError(cause) ? Number(cause.metadata.get("grpc-retry-pushback-ms")[0] ?? 0) : 0;
  return { kind: "failed", error, retryAfterMs: Number.isFinite(hint) ? Math.max(0, hint) : 0 };
}

function isServiceError(cause: unknown): cause is ServiceError {
  return cause instanceof Error && "metadata" in cause && cause.metadata instanceof Metadata;
}
