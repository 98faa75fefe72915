/**
 * Asks the control plane for certificates: `istio.v1.auth.IstioCertificateService/CreateCertificate`, with a new key each
 * time.
 */

import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { buildCsr } from "../x509/csr-builder.ts";
import { DEFAULT_KEY_SPEC, type KeySpec, makeKeyAside } from "../x509/key-spec.ts";
import type { RequestCertificate } from "./certificate-manager.ts";
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
  /** The cluster that issues it, where there are several. */
  readonly cluster?: string | undefined;
  /** 0 for the control plane's default. */
  readonly ttlSeconds: number;
  readonly clock: Clock;
  /** Of each new key; P-256 without. */
  readonly keySpec?: KeySpec | undefined;
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
      const error = AppError.from(thrown);
      return { kind: "failed", error, retryAfterMs: error.retryAfterMs ?? 0 };
    }
  };
}

/**
 * With the certificate that there is, where it still leads to the roots. One that the control plane does not take any more, as one that was revoked
 * or whose authority was, is no reason to wait for its end: the token may do.
 */
async function requestCertificate(options: CertificateClientOptions, current: IssuedCertificate | undefined): Promise<IssuedCertificate> {
  const certificate = current !== undefined && leadsToRoots(current, options.clock.now()) ? current : undefined;
  try {
    return await requestWith(options, certificate, current?.roots);
  } catch (thrown) {
    const refusal = AppError.from(thrown);
    if (certificate === undefined || refusal.code !== "unauthenticated") throw refusal;
    return await requestByToken(options, current?.roots, refusal);
  }
}

async function requestByToken(options: CertificateClientOptions, roots: string | undefined, refusal: AppError): Promise<IssuedCertificate> {
  const token = await options.token(false).catch(() => undefined);
  if (token === undefined) throw refusal;
  try {
    return await requestWith({ ...options, token: async () => token }, undefined, roots);
  } catch (thrown) {
    const error = AppError.from(thrown);
    throw new AppError(error.code, `${refusal.message}; and without the certificate: ${error.message}`, { cause: error });
  }
}

async function requestWith(
  options: CertificateClientOptions,
  certificate: IssuedCertificate | undefined,
  roots: string | undefined,
): Promise<IssuedCertificate> {
  const { identity, controlPlane, rootCertificateFile, clock, ttlSeconds, keySpec = DEFAULT_KEY_SPEC, deadlineMs = DEADLINE_MS } = options;
  const metadata = bearer(await tokenOf(options.token, certificate !== undefined), options.cluster);
  const privateKey = await makeKeyAside(keySpec);
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
