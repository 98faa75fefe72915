/** The ledger and the log over the admin socket. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import type { Authority } from "./authority.ts";
import { CERTIFICATE_STATES, type CertificateRecord, type RefusalRecord } from "./ledger-database.ts";
import type { LedgerFilter } from "./ledger-query.ts";
import { formatProof } from "./log/proof.ts";
import type { Block, RevokedRecord } from "./revocations.ts";
import { parseIdentity, parseSerial } from "./revoke.ts";

/** What `garrison ca list` shows. */
export interface LedgerAnswer {
  readonly certificates: readonly CertificateRecord[];
  readonly refusals: readonly RefusalRecord[];
}

/** What `garrison ca revocations` shows. */
export interface RevocationsAnswer {
  readonly certificates: readonly RevokedRecord[];
  readonly blocks: readonly Block[];
}

const MAX_LIMIT = 10_000;
function timeOf(name: string, text: string): number {
  const time = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isFinite(time)) return time;
  throw new AppError("invalid-argument", `\`${name}\` is not a time in milliseconds`);
}

/** The filter of a query, and what else it asks. Throws `invalid-argument`. */
function parseQuery(
  { searchParams }: URL,
  trustDomain: TrustDomain,
): { readonly filter: LedgerFilter; readonly refused: boolean; readonly issued: boolean } {
  const text = (name: string) => searchParams.get(name) ?? undefined;
  const [identity, serial, caller, outcome, since, until] = ["identity", "serial", "caller", "outcome", "since", "until"].map(text);
  const known = CERTIFICATE_STATES.find((each) => each === outcome);
  if (outcome !== undefined && outcome !== "refused" && known === undefined)
    throw new AppError("invalid-argument", `\`${outcome.slice(0, 100)}\` is not an outcome`, {
      help: `it is one of ${[...CERTIFICATE_STATES, "refused"].join(", ")}`,
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
    ...(since === undefined ? {} : { since: timeOf("since", since) }),
    ...(until === undefined ? {} : { until: timeOf("until", until) }),
  };
  // A refusal has neither serial nor state of a certificate.
  return { filter, issued: outcome !== "refused", refused: outcome === "refused" || (outcome === undefined && serial === undefined) };
}

function find(authority: Authority, url: URL): CertificateRecord {
  const serial = parseSerial(url.searchParams.get("serial") ?? "");
  const record = authority.ledger.find(serial);
  if (record !== undefined) return record;
  throw new AppError("not-found", `the ledger has no certificate with the serial number ${serial}`, {
    help: "certificates are kept 120 days; `garrison ca list` shows those that there are",
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

/** The routes of a certificate authority. */
export function authorityRoutes(authority: Authority, clock: Clock) {
  return {
    "GET /v1/ca/list": ({ url }: { readonly url: URL }): LedgerAnswer => {
      const { filter, issued, refused } = parseQuery(url, authority.trustDomain);
      return {
        certificates: issued ? authority.ledger.certificates(filter) : [],
        refusals: refused ? authority.ledger.refusals(filter) : [],
      };
    },
    "GET /v1/ca/show": ({ url }: { readonly url: URL }): CertificateRecord => find(authority, url),
    "GET /v1/ca/revocations": (): RevocationsAnswer => ({
      certificates: authority.revocations.certificates(clock.now()),
      blocks: authority.revocations.blocks,
    }),
    "GET /v1/ca/crl": async () => ({ crl: await authority.revocationList() }),
    "POST /v1/ca/unblock": ({ body }: { readonly body: unknown }) => {
      const identity = typeof body === "object" && body !== null && "identity" in body ? String(body.identity) : "";
      const id = parseIdentity(identity, authority.trustDomain);
      if (authority.revocations.unblock(id)) return { identity: id };
      throw new AppError("not-found", `the identity \`${id}\` is not revoked`);
    },
    "GET /v1/ca/prove": ({ url }: { readonly url: URL }) => prove(authority, url),
  };
}
