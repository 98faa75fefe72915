/** The ledgers of all replicas as one: which certificates, tokens and refusals there are, whichever of them is asked. */
import { create } from "@bufbuild/protobuf";
import type { Authority } from "../ca/authority.ts";
import { certificatesOf, type LedgerRows, ledgerRows, parseLedgerQuery, type ShownCertificate, withEnd } from "../ca/http.ts";
import type { JwtSvidRecord } from "../ca/jwt-svid-record.ts";
import { type CertificatesOf, type IssuedElsewhere, parseSerial } from "../ca/revoke.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { CertificatesRequestSchema, type CertificatesResponse, LedgerRequestSchema, Replicas } from "../gen/garrison/v1/replica_pb.js";
import { methodDefinition } from "../rpc/service.ts";
import type { AdminRoutes } from "./admin.ts";
import type { Asked, OtherReplicas } from "./cluster/other-replicas.ts";
import { readCertificate, readRows } from "./cluster/replica-rows.ts";

/** A row of a control plane that has replicas is that of one of them. */
interface OfReplica {
  readonly replica?: string;
}

/** What `garrison ca show` shows. */
export interface FoundCertificate extends ShownCertificate, OfReplica {
  /** Whether its authority is trusted still; absent where the CA is not Garrison's own, or the authority not known. */
  readonly trusted?: boolean;
}

function withTrust<T extends ShownCertificate>({ own }: Authority, found: T): T & Pick<FoundCertificate, "trusted"> {
  if (own === undefined || found.authority === undefined) return found;
  return { ...found, trusted: own.authorities.some(({ id }) => id === found.authority) };
}

type Rows = { readonly [Kind in keyof LedgerRows]: readonly (LedgerRows[Kind][number] & OfReplica)[] };

/** What `garrison ca list` shows. */
export interface LedgerAnswer extends Rows {
  /** Other replicas that could not be asked, with the reason. */
  readonly unasked: readonly string[];
}

interface LedgerContext {
  readonly authority: Authority;
  readonly jwtSvids: JwtSvidRecord;
  /** This replica's name; empty where there are none. */
  readonly replica: string;
  readonly others: Pick<OtherReplicas, "ask">;
  readonly clock: Clock;
}

const CERTIFICATES = methodDefinition(Replicas.method.certificates);
const LEDGER = methodDefinition(Replicas.method.ledger);
/** An operator waits for the slowest. */
const DEADLINE_MS = 5_000;

function oneof(of: CertificatesOf) {
  if ("serial" in of) return { case: "serial", value: of.serial } as const;
  return "identity" in of ? ({ case: "identity", value: of.identity } as const) : ({ case: "keyId", value: of.keyId } as const);
}

/** Asks the other replicas for certificates that they issued. */
function askForCertificates(others: LedgerContext["others"], of: CertificatesOf): Promise<Asked<readonly ShownCertificate[]>> {
  const request = create(CertificatesRequestSchema, { of: oneof(of) });
  const read = ({ certificates }: CertificatesResponse) => certificates.map(readCertificate);
  return others.ask(CERTIFICATES, request, DEADLINE_MS, read);
}

/** For a revocation. */
export async function issuedElsewhere(others: LedgerContext["others"], of: CertificatesOf): Promise<IssuedElsewhere> {
  const { answers, unasked } = await askForCertificates(others, of);
  return { certificates: answers.flatMap(({ answer }) => answer), unasked };
}

/** The newest of all, in their order. */
function newest<T>(lists: readonly (readonly T[])[], timeOf: (row: T) => number, limit: number): readonly T[] {
  return lists
    .flat()
    .sort((a, b) => timeOf(b) - timeOf(a))
    .slice(0, limit);
}

async function list({ authority, jwtSvids, replica, others }: LedgerContext, { searchParams }: URL): Promise<LedgerAnswer> {
  const query = parseLedgerQuery(searchParams, authority.trustDomain);
  const own = ledgerRows(authority, jwtSvids, query);
  const { answers, unasked } = await others.ask(
    LEDGER,
    create(LedgerRequestSchema, { query: searchParams.toString() }),
    DEADLINE_MS,
    readRows,
  );
  const all = [{ replica, answer: own }, ...answers];
  const of = <K extends keyof LedgerRows>(kind: K) =>
    all.map(({ replica: name, answer }) => answer[kind].map((row) => (name === "" ? row : { ...row, replica: name })) as Rows[K]);
  const { limit } = query.filter;
  return {
    // What was revoked a moment ago, its issuer may not know yet.
    certificates: newest(of("certificates"), ({ recordedAt }) => recordedAt, limit).map((row) => withEnd(authority, row)),
    jwtSvids: newest(of("jwtSvids"), ({ issuedAt }) => issuedAt, limit),
    refusals: newest(of("refusals"), ({ recordedAt }) => recordedAt, limit),
    unasked,
  };
}

async function show({ authority, replica, others, clock }: LedgerContext, { searchParams }: URL): Promise<FoundCertificate> {
  const serial = parseSerial(searchParams.get("serial") ?? "");
  const [own] = certificatesOf(authority, { serial }, clock.now());
  if (own !== undefined) return withTrust(authority, replica === "" ? own : { ...own, replica });
  const { answers, unasked } = await askForCertificates(others, { serial });
  for (const { replica: name, answer } of answers)
    for (const found of answer) return withTrust(authority, { ...withEnd(authority, found), replica: name });
  const unknown = `the ledger has no certificate with the serial number ${serial}`;
  if (unasked.length > 0)
    throw new AppError("unavailable", `${unknown}, and not all replicas could be asked: ${unasked.join("; ")}`, {
      help: "ask again when they answer",
    });
  throw new AppError("not-found", unknown, {
    help: "certificates are kept 120 days; `garrison ca list` shows those that there are",
  });
}

/** `GET /v1/ca/list` and `GET /v1/ca/show`. */
export function ledgerRoutes(context: LedgerContext): AdminRoutes {
  return {
    "GET /v1/ca/list": ({ url }) => list(context, url),
    "GET /v1/ca/show": ({ url }) => show(context, url),
  };
}
