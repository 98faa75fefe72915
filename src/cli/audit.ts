import type { IncomingMessage } from "node:http";
import { createInterface } from "node:readline";
import { formatJson, formatRecord, parseLine, type ToldRecord } from "../audit/format.ts";
import { AUDIT_FLAGS, parseAuditFilter } from "../audit/query-text.ts";
import { AppError } from "../core/error.ts";
import { readControlPlaneFile } from "../server/files.ts";
import { openAdmin, refusalOf } from "./admin-client.ts";
import type { Command, OptionSpec, ParsedArguments } from "./command.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION, tellNothing } from "./options.ts";
import { tellUnasked } from "./unasked.ts";

/** What the help says of each flag; the flags themselves are the record's. */
const FLAG_DOCS: Readonly<Record<string, OptionSpec>> = {
  since: { type: "value", value: "TIME", doc: "from a time, or so long ago: 10m, 2026-11-22T10:00:00Z" },
  until: { type: "value", value: "TIME", doc: "before a time" },
  workload: { type: "value", value: "NAMESPACE/NAME", doc: "decided at this workload" },
  service: { type: "value", value: "NAMESPACE/NAME", doc: "asked of this service" },
  caller: { type: "value", value: "WHO", doc: "NAMESPACE/SERVICE-ACCOUNT, a SPIFFE ID, or `none` for callers without one" },
  effect: { type: "value", value: "EFFECT", doc: "allow, deny, refused or lost" },
  "would-deny": { type: "flag", doc: "allowed, and denied were the policies of dry runs in force" },
  method: { type: "value", value: "METHOD", doc: "this HTTP method" },
  path: { type: "value", value: "PATH", doc: "this path, or with a `*` at its end all that begin so" },
  origin: { type: "value", value: "RULE", doc: "decided by NAMESPACE/POLICY[RULE], `default`, `no-policy` or `revoked`" },
  "after-id": { type: "value", value: "N[@REPLICA]", doc: "records after this one, of its replica alone" },
  limit: { type: "value", value: "N", doc: "at most so many" },
  order: { type: "value", value: "ORDER", doc: "which come first: oldest or newest" },
};

const DEFAULT_LIMIT = "100";

function queryOf(parsed: ParsedArguments, follow: boolean): URLSearchParams {
  const given = AUDIT_FLAGS.flatMap((flag): [string, string][] => {
    const value = FLAG_DOCS[flag]?.type === "flag" ? (parsed.flag(flag) ? "true" : undefined) : parsed.value(flag);
    return value === undefined ? [] : [[flag, value]];
  });
  const values = Object.fromEntries(given);
  // Told here, so that a wrong flag is a usage error even where no control plane runs.
  parseAuditFilter(values, Date.now());
  if (follow) return new URLSearchParams({ ...values, follow: "1" });
  return new URLSearchParams({ limit: DEFAULT_LIMIT, order: "newest", ...values });
}

/** The records of an answer; what else it says is told at once. */
async function* lines(response: IncomingMessage, unasked: (why: string) => void): AsyncGenerator<ToldRecord> {
  try {
    for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (line === "") continue;
      const told = parseLine(line);
      if ("unasked" in told) unasked(told.unasked);
      else yield told;
    }
  } catch (cause) {
    if (!response.errored) throw cause;
    const help = "when it is back, ask again with --since";
    throw new AppError("unavailable", "the control plane has gone in the middle of its answer", { help, cause });
  }
}

export const command: Command = {
  name: "audit",
  summary:
    "Lists decisions, of all replicas where there are several, the newest at the end; with --follow also those to come. Ends with 5 where a replica could not be asked.",
  options: {
    ...FLAG_DOCS,
    follow: { type: "flag", doc: "stay and print what comes" },
    json: { ...JSON_OPTION, doc: "print JSON lines" },
    state: STATE_OPTION,
  },
  examples: [
    "garrison audit --effect deny --since 10m",
    "garrison audit --caller photo-ns/photo-frontend --follow",
    "garrison audit --path '/photos*' --json",
    "garrison audit --would-deny --since 1d",
  ],
  run: async (parsed) => {
    const follow = parsed.flag("follow");
    const query = queryOf(parsed, follow);
    const { adminSocket, trustDomain } = readControlPlaneFile(required(parsed, "state"));
    const response = await openAdmin(adminSocket, "GET", `/v1/audit?${query}`);
    if (response.statusCode !== 200) throw await refusalOf(adminSocket, response);
    const options = { colour: process.stdout.isTTY === true, trustDomain };
    const format = parsed.flag("json") ? formatJson : (record: ToldRecord) => formatRecord(record, options);
    const print = (record: ToldRecord): void => void process.stdout.write(`${format(record)}\n`);
    const inOrder = follow || query.get("order") === "oldest";
    let count = 0;
    let code: ExitCode = EXIT.ok;
    const records = lines(response, (why) => {
      code = tellUnasked([why], "what it was told is missing here");
    });
    for await (const record of inOrder ? records : (await Array.fromAsync(records)).reverse()) {
      print(record);
      count += 1;
    }
    if (count === 0 && !follow) tellNothing(parsed, "the record has no decision that fits");
    return code;
  },
};
