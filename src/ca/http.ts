/** The ledger and the log over the admin socket. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import type { Authority } from "./authority.ts";
import type { JwtSvidEntry, JwtSvidRecord } from "./jwt-svid-record.ts";
import {
  CERTIFICATE_STATES,
  type CertificateRecord,
  CREDENTIAL_KINDS,
  type CredentialKind,
  type RefusalRecord,
} from "./ledger-database.ts";
import type { LedgerFilter } from "./ledger-query.ts";
import type { RevokedNote } from "./log/entry.ts";
import { formatProof } from "./log/proof.ts";
import type { Block, RevokedRecord } from "./revocations.ts";
import { type CertificatesOf, parseIdentity, parseSerial } from "./revoke.ts";

/** A certificate, and whether it was revoked. */
export interface ShownCertificate extends CertificateRecord {
  readonly revoked?: Pick<RevokedNote, "at" | "reason">;
}

/** What one ledger has of what was asked for, each kind with the newest first. */
export interface LedgerRows {
  readonly certificates: readonly ShownCertificate[];
  readonly jwtSvids: readonly JwtSvidEntry[];
  readonly refusals: readonly RefusalRecord[];
}

/** What `garrison ca revocations` shows. */
export interface RevocationsAnswer {
  readonly certificates: readonly RevokedRecord[];
  readonly blocks: readonly Block[];
}

const MAX_LIMIT = 10_000;
const ASKED_BY: ReadonlySet<string> = new Set(["kind", "identity", "serial", "caller", "outcome", "since", "until", "limit"]);
const BY_CERTIFICATE = "client certificate";

function timeOf(name: string, text: string): number {
  const time = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isFinite(time)) return time;
  throw new AppError("invalid-argument", `\`${name}\` is not a time in milliseconds`);
}

export interface LedgerQuery {
  readonly filter: LedgerFilter;
  readonly certificates: boolean;
  readonly jwtSvids: boolean;
  readonly refusals: boolean;
}

function kindOf(text: string | null): CredentialKind | undefined {
  const kind = CREDENTIAL_KINDS.find((each) => each === text);
  if (text === null || kind !== undefined) return kind;
  throw new AppError("invalid-argument", `\`${text.slice(0, 100)}\` is not a kind`, { help: `it is ${CREDENTIAL_KINDS.join(" or ")}` });
}

/** The filter of a query, and what else it asks. Throws `invalid-argument`. */
export function parseLedgerQuery(searchParams: URLSearchParams, trustDomain: TrustDomain): LedgerQuery {
  const unknown = [...searchParams.keys()].find((name) => !ASKED_BY.has(name));
  if (unknown !== undefined)
    throw new AppError("invalid-argument", `the ledger cannot be asked by \`${unknown.slice(0, 100)}\``, {
      help: `it can be asked by ${[...ASKED_BY].join(", ")}`,
    });
  const text = (name: string) => searchParams.get(name) ?? undefined;
  const kind = kindOf(searchParams.get("kind"));
  const [identity, serial, caller, outcome, since, until] = ["identity", "serial", "caller", "outcome", "since", "until"].map(text);
  const known = CERTIFICATE_STATES.find((each) => each === outcome);
  if (outcome !== undefined && outcome !== "refused" && outcome !== "revoked" && known === undefined)
    throw new AppError("invalid-argument", `\`${outcome.slice(0, 100)}\` is not an outcome`, {
      help: `it is one of ${[...CERTIFICATE_STATES, "refused", "revoked"].join(", ")}`,
    });
  const limit = Number(searchParams.get("limit") ?? 100);
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_LIMIT)
    throw new AppError("invalid-argument", `\`limit\` is not from 1 to ${MAX_LIMIT}`);
  const filter: LedgerFilter = {
    limit,
    ...(identity === undefined ? {} : { identity: parseIdentity(identity, trustDomain) }),
    ...(serial === undefined ? {} : { serial: parseSerial(serial) }),
    ...(caller === undefined ? {} : { caller }),
    ...(known === undefined ? {} : { state: known }),
    ...(outcome === "revoked" ? { revoked: true } : {}),
    ...(kind === undefined ? {} : { kind }),
    ...(since === undefined ? {} : { since: timeOf("since", since) }),
    ...(until === undefined ? {} : { until: timeOf("until", until) }),
  };
  // A refusal, and a token, has neither serial nor state of a certificate.
  const anything = outcome === undefined && serial === undefined;
  return {
    filter,
    certificates: outcome !== "refused" && kind !== "jwt-svid",
    // They are given for client certificates alone.
    jwtSvids: (anything || outcome === "issued") && kind !== "certificate" && (caller ?? BY_CERTIFICATE) === BY_CERTIFICATE,
    refusals: outcome === "refused" || anything,
  };
}

/** With what the log says of its end. */
export function withEnd<T extends CertificateRecord>({ ledger }: Authority, record: T): T & Pick<ShownCertificate, "revoked"> {
  const note = ledger.notes.revoked.get(record.serial);
  return note === undefined ? record : { ...record, revoked: { at: note.at, reason: note.reason } };
}

/** What this ledger has. */
export function ledgerRows(authority: Authority, jwtSvids: JwtSvidRecord, { filter, ...asked }: LedgerQuery): LedgerRows {
  return {
    certificates: asked.certificates ? authority.ledger.certificates(filter).map((record) => withEnd(authority, record)) : [],
    jwtSvids: asked.jwtSvids ? jwtSvids.list(filter) : [],
    refusals: asked.refusals ? authority.ledger.refusals(filter) : [],
  };
}

/** The one certificate with a serial number, whatever became of it; else those issued that have not expired at `now`. */
export function certificatesOf(authority: Authority, of: CertificatesOf, now: number): readonly ShownCertificate[] {
  const { ledger } = authority;
  const found = "serial" in of ? ledger.certificates({ serial: of.serial, limit: 1 }) : ledger.unexpired(of, now);
  return found.map((record) => withEnd(authority, record));
}

function find(authority: Authority, url: URL): CertificateRecord {
  const serial = parseSerial(url.searchParams.get("serial") ?? "");
  const record = authority.ledger.find(serial);
  if (record !== undefined) return record;
  throw new AppError("not-found", `the ledger of this control plane has no certificate with the serial number ${serial}`, {
    help: "where there are several replicas, the one that issued it proves it: `garrison ca show` names that",
  });
}

async function prove(authority: Authority, url: URL): Promise<{ readonly proof: string }> {
  const { leaf, serial, state } = find(authority, url);
  if (leaf === undefined) throw new AppError("not-found", `the certificate ${serial} is \`${state}\` and not in the log`);
  await authority.log.published();
  const { reader, checkpoint } = authority.log;
  const [entry] = reader.entries(leaf);
  if (entry === undefined) throw new AppError("internal", "the log lacks an entry that it had");
  return { proof: formatProof({ entry, index: leaf, hashes: reader.inclusionProof(leaf), checkpoint }) };
}

/** The routes of a certificate authority that concern its own state alone. */
export function authorityRoutes(authority: Authority, clock: Clock) {
  return {
    "GET /v1/ca/revocations": (): RevocationsAnswer => ({
      certificates: authority.revocations.certificates(clock.now()),
      blocks: authority.revocations.blocks,
    }),
    "GET /v1/ca/crl": async () => ({ crl: (await authority.lists.served()).map(({ pem }) => pem).join("") }),
    "POST /v1/ca/unblock": ({ body }: { readonly body: unknown }) => {
      const identity = typeof body === "object" && body !== null && "identity" in body ? String(body.identity) : "";
      const id = parseIdentity(identity, authority.trustDomain);
      if (authority.revocations.unblock(id)) return { identity: id };
      throw new AppError("not-found", `the identity \`${id}\` is not revoked`);
    },
    "GET /v1/ca/prove": ({ url }: { readonly url: URL }) => prove(authority, url),
  };
}
