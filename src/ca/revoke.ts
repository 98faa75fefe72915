/** What an operator asks for when something is to be revoked, and what comes of it. */
import { AppError } from "../core/error.ts";
import { controlPlaneIdentity } from "../identity/control-plane.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { closest } from "../policy/decode/suggest.ts";
import { hexOf } from "../x509/hex.ts";
import { keyIdentifier } from "../x509/public-key.ts";
import { REVOCATION_REASONS, type RevocationReason } from "../x509/revocation-list.ts";
import type { Authority } from "./authority.ts";
import { authorityId } from "./authority-id.ts";
import type { CertificateRecord } from "./ledger-database.ts";
import type { Block, RevokedRecord } from "./revocations.ts";

export interface RevocationRequest {
  readonly kind: "serial" | "identity" | "key";
  /** A serial number or a key identifier in hex; NAMESPACE/SERVICE-ACCOUNT or a SPIFFE ID. */
  readonly value: string;
  readonly reason: RevocationReason;
  /** An identity also where nobody is known by it, and the control plane's own. */
  readonly force?: boolean;
}

/** What other replicas have issued of what is to be revoked, and which of them could not be asked, with the reason. */
export interface IssuedElsewhere {
  readonly certificates: readonly CertificateRecord[];
  readonly unasked: readonly string[];
}

const NOWHERE: IssuedElsewhere = { certificates: [], unasked: [] };

export interface RevocationResult {
  /** Revoked by this request. */
  readonly revoked: readonly RevokedRecord[];
  /** Of a serial number: the certificate that was revoked already, as it was and is. */
  readonly before?: RevokedRecord;
  /** Of a revoked key: certificates that may have it and are not revoked, as the ledger does not know their keys. */
  readonly keyless?: number;
  /** What gets no certificate from now on. */
  readonly blocked?: Pick<Block, "kind" | "value">;
}

/** Certificates that are named by what they have in common; a serial number and a key identifier in lower-case hex. */
export type CertificatesOf = { readonly serial: string } | { readonly identity: string } | { readonly keyId: string };

const SERIAL = /^[0-9a-f]{1,40}$/;
/** Accounts that are looked at for the one that was meant. */
const MAX_SUGGESTED = 1_000;
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

/** Why something is revoked. Throws `invalid-argument`. */
export function decodeReason(reason: unknown): RevocationReason {
  if (isReason(reason)) return reason;
  throw new AppError("invalid-argument", `\`${String(reason).slice(0, 100)}\` is not a reason`, {
    help: `it is one of ${Object.keys(REVOCATION_REASONS).join(", ")}`,
  });
}

/** A request as JSON has it. Throws `invalid-argument`. */
export function decodeRevocation(body: unknown): RevocationRequest {
  const {
    kind,
    value,
    reason = "unspecified",
    force = false,
  } = (typeof body === "object" && body !== null ? body : {}) as Partial<Record<string, unknown>>;
  if ((kind !== "serial" && kind !== "identity" && kind !== "key") || typeof value !== "string") {
    throw new AppError("invalid-argument", "a revocation has a `kind` (serial, identity or key) and a `value`");
  }
  if (typeof force !== "boolean") throw new AppError("invalid-argument", "`force` is true or false");
  return { kind, value, reason: decodeReason(reason), force };
}

/** One certificate by its serial number. Throws `not-found`, also for one that nobody ever got, and `unavailable` where a replica may know it. */
function issuedCertificate({ ledger }: Authority, serial: string, { certificates, unasked }: IssuedElsewhere): CertificateRecord {
  const record = [ledger.find(serial), ...certificates].find((each) => each?.serial === serial && each.state === "issued");
  if (record !== undefined) return record;
  const unknown = `the ledger has no issued certificate with the serial number ${serial}`;
  if (unasked.length > 0)
    throw new AppError("unavailable", `${unknown}, and not all replicas could be asked: ${unasked.join("; ")}`, {
      help: "ask again when they answer; where the certificate is at hand, `--key FILE` revokes its key without the ledger",
    });
  throw new AppError("not-found", unknown, { help: "`garrison ca list` shows those that there are" });
}

/** The account that was most likely meant, as NAMESPACE/SERVICE-ACCOUNT. */
function suggestAccount(value: string, accounts: ReadonlySet<string>): string | undefined {
  const names = [...accounts].slice(0, MAX_SUGGESTED).map((identity) => {
    const { namespace, serviceAccount } = parseSpiffeId(identity);
    return `${namespace}/${serviceAccount}`;
  });
  return closest(value.replace(/^spiffe:\/\/[^/]*\/ns\/([^/]*)\/sa\//, "$1/"), names);
}

/**
 * An identity whose block does what was meant. Throws `permission-denied` for the control plane's own, and `not-found` for one that has no
 * account (`accounts` has SPIFFE IDs) and never got a certificate.
 */
export function checkIdentity(
  { ledger, trustDomain }: Authority,
  value: string,
  accounts: ReadonlySet<string>,
  { certificates, unasked }: IssuedElsewhere = NOWHERE,
): void {
  const identity = parseIdentity(value, trustDomain);
  if (identity === formatSpiffeId(controlPlaneIdentity(trustDomain))) {
    throw new AppError(
      "permission-denied",
      "`istio-system/garrison` is the control plane itself: it would get no other certificate, and not start again",
      {
        help: "where the CA's key may be known, replace the authority (`garrison ca prepare`); where only the control plane's own, revoke that certificate by `--serial`, and it gets another at once; `--force` does it all the same, until `garrison ca unblock`",
      },
    );
  }
  if (accounts.has(identity) || certificates.length > 0 || ledger.certificates({ identity, limit: 1 }).length > 0) return;
  if (unasked.length > 0)
    throw new AppError(
      "unavailable",
      `no replica that could be asked knows \`${value.slice(0, 300)}\`, and not all could: ${unasked.join("; ")}`,
      {
        help: "`--force` keeps it from certificates all the same",
      },
    );
  const meant = suggestAccount(value, accounts);
  throw new AppError(
    "not-found",
    `there is no service account \`${value.slice(0, 300)}\`, and it never got a certificate: nothing was revoked`,
    {
      help: `${meant === undefined ? "" : `did you mean \`${meant}\`? `}\`--force\` keeps it from certificates all the same`,
    },
  );
}

/** Its key identifier, or SPIFFE ID, or serial number. Throws `invalid-argument`. */
export function certificatesNamed({ kind, value }: RevocationRequest, trustDomain: TrustDomain): CertificatesOf {
  if (kind === "serial") return { serial: parseSerial(value) };
  if (kind === "identity") return { identity: parseIdentity(value, trustDomain) };
  const keyId = value.toLowerCase();
  if (KEY_ID.test(keyId)) return { keyId };
  throw new AppError("invalid-argument", "a key is named by its identifier: 40 hex digits");
}

/** Throws `invalid-argument` for a key (its identifier in hex) that signs certificates: who is told that it is revoked would think the CA safe again. */
export function checkNoAuthority({ trust, own }: Authority, value: string): void {
  const keyId = value.toLowerCase();
  const all = [...trust.roots, ...trust.intermediates];
  if (!all.some((each) => authorityId(each) === keyId || hexOf(keyIdentifier(each.spki)) === keyId)) return;
  throw new AppError("invalid-argument", `the key ${keyId} is a CA's and no workload's: nothing was revoked`, {
    help:
      own === undefined
        ? "replace the CA by its files, and take its root away last"
        : `replace the authority: \`garrison ca prepare\`, \`ca activate\`, \`ca taint\`, and then \`ca revoke --authority ${keyId.slice(0, 12)}\``,
  });
}

/** Revokes what is asked for, with what others issued of it. On the disk when it returns. Throws `invalid-argument`, `not-found`, `unavailable`. */
export function revoke(
  authority: Authority,
  request: RevocationRequest,
  now: number,
  elsewhere: IssuedElsewhere = NOWHERE,
): RevocationResult {
  const { ledger, revocations } = authority;
  const { reason } = request;
  const of = certificatesNamed(request, authority.trustDomain);
  if ("serial" in of) {
    const before = revocations.find(of.serial);
    const revoked = revocations.revoke([issuedCertificate(authority, of.serial, elsewhere)], reason, now);
    return before === undefined ? { revoked } : { revoked, before };
  }
  const all = new Map([...elsewhere.certificates, ...ledger.unexpired(of, now)].map((each) => [each.serial, each]));
  const revokeAll = (blocked: Pick<Block, "kind" | "value">) => ({
    revoked: revocations.revoke([...all.values()], reason, now, blocked),
    blocked,
  });
  if ("identity" in of) return revokeAll({ kind: "identity", value: of.identity });
  const keyless = ledger.keyless(now).filter((serial) => !revocations.isRevoked(serial)).length;
  return { ...revokeAll({ kind: "key", value: of.keyId }), keyless };
}
