/** What an operator asks for when something is to be revoked, and what comes of it. */
import { AppError } from "../core/error.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { REVOCATION_REASONS, type RevocationReason } from "../x509/revocation-list.ts";
import type { Authority } from "./authority.ts";
import type { CertificateRecord } from "./ledger-database.ts";
import type { Block, RevokedRecord } from "./revocations.ts";

export interface RevocationRequest {
  readonly kind: "serial" | "identity" | "key";
  /** A serial number or a key identifier in hex; NAMESPACE/SERVICE-ACCOUNT or a SPIFFE ID. */
  readonly value: string;
  readonly reason: RevocationReason;
}

export interface RevocationResult {
  /** Revoked by this request. */
  readonly revoked: readonly RevokedRecord[];
  /** What gets no certificate from now on. */
  readonly blocked?: Pick<Block, "kind" | "value">;
}

const SERIAL = /^[0-9a-f]{1,40}$/;
const KEY_ID = /^[0-9a-f]{40}$/;

/** Lower-case hex without colons. Throws `invalid-argument`. */
export function parseSerial(text: string): string {
  const serial = text.toLowerCase().replaceAll(":", "");
  if (SERIAL.test(serial)) return serial;
  throw new AppError("invalid-argument", `\`${serial.slice(0, 100)}\` is not a serial number`, {
    help: "give it in hex, as `garrison ca list` shows it",
  });
}

/** The SPIFFE ID of `NAMESPACE/SERVICE-ACCOUNT`, or of itself. Throws `invalid-argument`. */
export function parseIdentity(text: string, trustDomain: TrustDomain): string {
  const [, namespace, serviceAccount] = /^([^/:]+)\/([^/:]+)$/.exec(text) ?? [];
  if (namespace === undefined || serviceAccount === undefined) return formatSpiffeId(parseSpiffeId(text));
  return formatSpiffeId({ trustDomain, namespace, serviceAccount });
}

function isReason(text: unknown): text is RevocationReason {
  return typeof text === "string" && Object.hasOwn(REVOCATION_REASONS, text);
}

/** A request as JSON has it. Throws `invalid-argument`. */
export function decodeRevocation(body: unknown): RevocationRequest {
  const {
    kind,
    value,
    reason = "unspecified",
  } = (typeof body === "object" && body !== null ? body : {}) as Partial<Record<string, unknown>>;
  if ((kind !== "serial" && kind !== "identity" && kind !== "key") || typeof value !== "string") {
    throw new AppError("invalid-argument", "a revocation has a `kind` (serial, identity or key) and a `value`");
  }
  if (isReason(reason)) return { kind, value, reason };
  throw new AppError("invalid-argument", `\`${String(reason).slice(0, 100)}\` is not a reason`, {
    help: `it is one of ${Object.keys(REVOCATION_REASONS).join(", ")}`,
  });
}

/** One certificate by its serial number. Throws `not-found`, also for one that nobody ever got. */
function issuedCertificate({ ledger }: Authority, serial: string): CertificateRecord {
  const record = ledger.find(serial);
  if (record?.state === "issued") return record;
  throw new AppError("not-found", `the ledger has no issued certificate with the serial number ${serial}`, {
    help: "`garrison ca list` shows those that there are",
  });
}

/** Revokes what is asked for. On the disk when it returns. Throws `invalid-argument`, `not-found`, `unavailable`. */
export function revoke(authority: Authority, { kind, value, reason }: RevocationRequest, now: number): RevocationResult {
  const { ledger, revocations } = authority;
  if (kind === "serial") return { revoked: revocations.revoke([issuedCertificate(authority, parseSerial(value))], reason, now) };
  if (kind === "identity") {
    const blocked = { kind, value: parseIdentity(value, authority.trustDomain) } as const;
    return { revoked: revocations.revoke(ledger.unexpired({ identity: blocked.value }, now), reason, now, blocked), blocked };
  }
  const keyId = value.toLowerCase();
  if (!KEY_ID.test(keyId)) throw new AppError("invalid-argument", "a key is named by its identifier: 40 hex digits");
  const blocked = { kind, value: keyId } as const;
  return { revoked: revocations.revoke(ledger.unexpired({ keyId }, now), reason, now, blocked), blocked };
}
