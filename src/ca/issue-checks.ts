/** What workloads' certificates may be, and how what was signed is looked at before it is handed out. */
import { AppError } from "../core/error.ts";
import type { Certificate } from "../x509/certificate.ts";
import type { CertificateRequest } from "../x509/csr.ts";
import { Profile } from "../x509/profile.ts";
import type { PreparedOrder } from "./certifier.ts";

const DAY_SECONDS = 24 * 3600;
/** For peers whose clocks are slow. */
export const BACKDATE_SECONDS = 120;
const LIVES = { defaultTtlSeconds: DAY_SECONDS, maxTtlSeconds: 90 * DAY_SECONDS, backdateSeconds: BACKDATE_SECONDS } as const;
/** No certificate lives longer, whoever issued it. */
export const WORKLOAD_MAX_LIFE_MS = LIVES.maxTtlSeconds * 1000;
export const WORKLOAD = Profile.from({ ...LIVES, dnsNames: "refused" });
/** The control plane's own: clients that know no SPIFFE find it by DNS names. */
export const SERVING = Profile.from({ ...LIVES, dnsNames: "allowed" });

/** Throws `permission-denied`. */
export function checkNames(request: CertificateRequest, uri: string): void {
  if (request.names.every(({ kind, value }) => kind === "uri" && value === uri)) return;
  throw new AppError("permission-denied", "the certificate request asks for a name other than the caller's identity", {
    help: "leave the subject alternative name out, or ask for the identity of the service account that sends the request",
  });
}

/**
 * Looks at the signed certificate as any other reader would, so that a fault in the writer never leaves the house. Serial number and validity are
 * compared where they were prepared here; what another CA chose, its certifier has checked. Throws `internal`.
 */
export function checkSigned(signed: Certificate, prepared: PreparedOrder, uri: string, request: CertificateRequest): void {
  const [first, ...others] = signed.names.filter((name) => name.kind === "uri");
  const asPrepared =
    prepared.serial === undefined ||
    (signed.serial === prepared.serial && signed.notBefore === prepared.notBefore && signed.notAfter === prepared.notAfter);
  const asMeant =
    asPrepared && first?.value === uri && others.length === 0 && !signed.isCa && Buffer.compare(signed.spki, request.spki) === 0;
  if (!asMeant) throw new AppError("internal", "the signed certificate is not what was asked for");
}
