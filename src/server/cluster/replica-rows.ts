/** Rows of the ledger as replicas tell them to each other. */
import { create } from "@bufbuild/protobuf";
import type { LedgerRows, ShownCertificate } from "../../ca/http.ts";
import type { JwtSvidEntry } from "../../ca/jwt-svid-record.ts";
import { CERTIFICATE_STATES, CREDENTIAL_KINDS, type RefusalRecord } from "../../ca/ledger-database.ts";
import { decodeReason } from "../../ca/revoke.ts";
import { AppError } from "../../core/error.ts";
import {
  type LedgerCertificate,
  LedgerCertificateSchema,
  type LedgerJwtSvid,
  LedgerJwtSvidSchema,
  type LedgerRefusal,
  LedgerRefusalSchema,
  type LedgerResponse,
  LedgerResponseSchema,
} from "../../gen/garrison/v1/replica_pb.js";

/** One of a closed list. Throws `unsupported` for what only another version can have said. */
function known<T extends string>(list: readonly T[], text: string): T {
  const found = list.find((each) => each === text);
  if (found === undefined) throw new AppError("unsupported", `\`${text.slice(0, 100)}\` is not known here`);
  return found;
}

export function writeCertificate(row: ShownCertificate): LedgerCertificate {
  const { notBefore, notAfter, recordedAt, leaf, revoked, serial, identity, caller, state, sha256, keyId, authority } = row;
  return create(LedgerCertificateSchema, {
    serial,
    identity,
    caller,
    state,
    notBeforeMs: BigInt(notBefore),
    notAfterMs: BigInt(notAfter),
    recordedAtMs: BigInt(recordedAt),
    ...(sha256 === undefined ? {} : { sha256 }),
    ...(keyId === undefined ? {} : { keyId }),
    ...(authority === undefined ? {} : { authority }),
    ...(leaf === undefined ? {} : { leaf: BigInt(leaf) }),
    ...(revoked === undefined ? {} : { revoked: { atMs: BigInt(revoked.at), reason: revoked.reason } }),
  });
}

/** Throws for what this version does not know. */
export function readCertificate(row: LedgerCertificate): ShownCertificate {
  const { serial, identity, caller, state, notBeforeMs, notAfterMs, recordedAtMs, sha256, leaf, keyId, authority, revoked } = row;
  return {
    serial,
    identity,
    caller,
    notBefore: Number(notBeforeMs),
    notAfter: Number(notAfterMs),
    state: known(CERTIFICATE_STATES, state),
    recordedAt: Number(recordedAtMs),
    ...(sha256 === undefined ? {} : { sha256 }),
    ...(leaf === undefined ? {} : { leaf: Number(leaf) }),
    ...(keyId === undefined ? {} : { keyId }),
    ...(authority === undefined ? {} : { authority }),
    ...(revoked === undefined ? {} : { revoked: { at: Number(revoked.atMs), reason: decodeReason(revoked.reason) } }),
  };
}

function writeJwtSvid({ issuedAt, expiresAt, audiences, ...texts }: JwtSvidEntry): LedgerJwtSvid {
  const times = { issuedAtMs: BigInt(issuedAt), expiresAtMs: BigInt(expiresAt) };
  return create(LedgerJwtSvidSchema, { ...texts, ...times, audiences: [...audiences] });
}

function readJwtSvid({ id, identity, audiences, issuedAtMs, expiresAtMs, sha256 }: LedgerJwtSvid): JwtSvidEntry {
  return { id, identity, audiences, issuedAt: Number(issuedAtMs), expiresAt: Number(expiresAtMs), sha256 };
}

function writeRefusal({ recordedAt, ...texts }: RefusalRecord): LedgerRefusal {
  return create(LedgerRefusalSchema, { ...texts, recordedAtMs: BigInt(recordedAt) });
}

function readRefusal({ recordedAtMs, identity, caller, reason, kind }: LedgerRefusal): RefusalRecord {
  return { recordedAt: Number(recordedAtMs), identity, caller, reason, kind: known(CREDENTIAL_KINDS, kind) };
}

export function writeRows({ certificates, jwtSvids, refusals }: LedgerRows): LedgerResponse {
  return create(LedgerResponseSchema, {
    certificates: certificates.map(writeCertificate),
    jwtSvids: jwtSvids.map(writeJwtSvid),
    refusals: refusals.map(writeRefusal),
  });
}

/** Throws for what this version does not know. */
export function readRows({ certificates, jwtSvids, refusals }: LedgerResponse): LedgerRows {
  return {
    certificates: certificates.map(readCertificate),
    jwtSvids: jwtSvids.map(readJwtSvid),
    refusals: refusals.map(readRefusal),
  };
}
