/** The ledger and the log over the admin socket. */
import { AppError } from "../core/error.ts";
import { formatSpiffeId, parseSpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import type { Authority } from "./authority.ts";
import { CERTIFICATE_STATES, type CertificateRecord, type RefusalRecord } from "./ledger-database.ts";
import type { LedgerFilter } from "./ledger-query.ts";
import { formatProof } from "./log/proof.ts";

/** What `garrison ca list` shows. */
export interface LedgerAnswer {
  readonly certificates: readonly CertificateRecord[];
  readonly refusals: readonly RefusalRecord[];
}

const MAX_LIMIT = 10_000;
const SERIAL = /^[0-9a-f]{1,40}$/;

function serialOf(text: string | null): string {
  const serial = (text ?? "").toLowerCase().replaceAll(":", "");
  if (SERIAL.test(serial)) return serial;
  throw new AppError("invalid-argument", `\`${serial.slice(0, 100)}\` is not a serial number`, {
    help: "give it in hex, as `garrison ca list` shows it",
  });
}

/** `NAMESPACE/SERVICE-ACCOUNT`, or a SPIFFE ID. */
function identityOf(text: string, trustDomain: TrustDomain): string {
  const [, namespace, serviceAccount] = /^([^/:]+)\/([^/:]+)$/.exec(text) ?? [];
  if (namespace === undefined || serviceAccount === undefined) return formatSpiffeId(parseSpiffeId(text));
  return formatSpiffeId({ trustDomain, namespace, serviceAccount });
}

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
    ...(identity === undefined ? {} : { identity: identityOf(identity, trustDomain) }),
    ...(serial === undefined ? {} : { serial: serialOf(serial) }),
    ...(caller === undefined ? {} : { caller }),
    ...(known === undefined ? {} : { state: known }),
    ...(since === undefined ? {} : { since: timeOf("since", since) }),
    ...(until === undefined ? {} : { until: timeOf("until", until) }),
  };
  // A refusal has neither serial nor state of a certificate.
  return { filter, issued: outcome !== "refused", refused: outcome === "refused" || (outcome === undefined && serial === undefined) };
}

function find(authority: Authority, url: URL): CertificateRecord {
  const serial = serialOf(url.searchParams.get("serial"));
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
export function authorityRoutes(authority: Authority) {
  return {
    "GET /v1/ca/list": ({ url }: { readonly url: URL }): LedgerAnswer => {
      const { filter, issued, refused } = parseQuery(url, authority.trustDomain);
      return {
        certificates: issued ? authority.ledger.certificates(filter) : [],
        refusals: refused ? authority.ledger.refusals(filter) : [],
      };
    },
    "GET /v1/ca/show": ({ url }: { readonly url: URL }): CertificateRecord => find(authority, url),
    "GET /v1/ca/prove": ({ url }: { readonly url: URL }) => prove(authority, url),
  };
}
