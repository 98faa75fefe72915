import { parseAuditFilter } from "../audit/query-text.ts";
import type { ShownCertificate } from "../ca/http.ts";
import type { JwtSvidEntry } from "../ca/jwt-svid-record.ts";
import type { RefusalRecord } from "../ca/ledger-database.ts";
import type { LedgerAnswer } from "../server/ledger.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { JSON_OPTION, parseCount, required, STATE_OPTION, tellNothing } from "./options.ts";
import { tellUnasked } from "./unasked.ts";

const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

function certificateLine({ recordedAt, state, serial, identity, caller, notAfter, revoked }: ShownCertificate): string {
  const end = revoked === undefined ? `until ${time(notAfter)}` : `revoked ${time(revoked.at)}: ${revoked.reason}`;
  return `${time(recordedAt)} ${(revoked === undefined ? state : "revoked").padEnd(11)} ${serial || "(no serial)"} ${identity} by ${caller}, ${end}`;
}

function jwtSvidLine({ issuedAt, id, identity, audiences, expiresAt }: JwtSvidEntry): string {
  return `${time(issuedAt)} ${"issued".padEnd(11)} JWT-SVID ${id} ${identity} by client certificate, for ${audiences.join(", ")}, until ${time(expiresAt)}`;
}

function refusalLine({ recordedAt, identity, caller, reason, kind }: RefusalRecord): string {
  const what = kind === "jwt-svid" ? "JWT-SVID " : "";
  return `${time(recordedAt)} ${"refused".padEnd(11)} ${what}${identity === "" ? "nobody" : identity} by ${caller}: ${reason}`;
}

/** Everything in the order of time, the newest at the end. */
function inOrder({ certificates, jwtSvids, refusals }: LedgerAnswer, limit: number) {
  const all = [
    ...jwtSvids.map((entry) => ({ at: entry.issuedAt, line: jwtSvidLine(entry), record: { kind: "jwt-svid", state: "issued", ...entry } })),
    ...certificates.map((record) => ({ at: record.recordedAt, line: certificateLine(record), record: { kind: "certificate", ...record } })),
    ...refusals.map((record) => ({
      at: record.recordedAt,
      line: refusalLine(record),
      record: { ...record, kind: "refusal", of: record.kind, state: "refused" },
    })),
  ];
  return all.sort((a, b) => a.at - b.at).slice(-limit);
}

function queryOf(parsed: ParsedArguments, limit: number): URLSearchParams {
  const query = new URLSearchParams({ limit: String(limit) });
  for (const name of ["kind", "identity", "serial", "caller", "outcome"]) {
    const value = parsed.value(name);
    if (value !== undefined) query.set(name, value);
  }
  // Times are written as for the record of decisions.
  const times = Object.fromEntries(
    ["since", "until"].flatMap((name) => (parsed.value(name) === undefined ? [] : [[name, parsed.value(name) ?? ""]])),
  );
  const { since, until } = parseAuditFilter(times, Date.now());
  if (since !== undefined) query.set("since", String(since));
  if (until !== undefined) query.set("until", String(until));
  return query;
}

export const command: Command = {
  name: "ca list",
  summary:
    "Lists certificates, JWT-SVIDs and refusals of the ledger, of all replicas where there are several, the newest at the end. Ends with 5 where a replica could not be asked.",
  options: {
    identity: { type: "value", value: "WHO", doc: "NAMESPACE/SERVICE-ACCOUNT, or a SPIFFE ID" },
    kind: { type: "value", value: "KIND", doc: "certificate or jwt-svid, also of refusals" },
    serial: { type: "value", value: "HEX", doc: "this serial number" },
    caller: {
      type: "value",
      value: "HOW",
      doc: "who proved its identity so: token, `client certificate`, `join token`, `control plane`, citadel, `issuer NAME`, nobody",
    },
    outcome: { type: "value", value: "OUTCOME", doc: "issued, refused, revoked, failed, interrupted or intended" },
    since: { type: "value", value: "TIME", doc: "from a time, or so long ago: 10m, 2026-11-22T10:00:00Z" },
    until: { type: "value", value: "TIME", doc: "before a time" },
    limit: { type: "value", value: "N", doc: "at most so many", default: "100" },
    json: { ...JSON_OPTION, doc: "print JSON lines" },
    state: STATE_OPTION,
  },
  examples: ["garrison ca list --identity photo-ns/photo-frontend", "garrison ca list --outcome refused --since 1h --json"],
  run: async (parsed) => {
    const limit = parseCount("limit", required(parsed, "limit"), 1, 10_000);
    const socket = controlPlaneSocket(required(parsed, "state"));
    const answer = (await callAdmin(socket, "GET", `/v1/ca/list?${queryOf(parsed, limit)}`)) as LedgerAnswer;
    const found = inOrder(answer, limit);
    if (found.length === 0) tellNothing(parsed, "the ledger has nothing that fits");
    for (const { line, record } of found) process.stdout.write(parsed.flag("json") ? jsonLine(record) : `${line}\n`);
    return tellUnasked(answer.unasked, "what it issued and refused is missing here");
  },
};
