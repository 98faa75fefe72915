import { existsSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { JWT_SVIDS_FILE, MAX_JWT_SVIDS, rootOfRows } from "../ca/jwt-svid-record.ts";
import { RETENTION_MS } from "../ca/ledger.ts";
import { ledgerRows, openLedgerForReading } from "../ca/ledger-database.ts";
import { noteTexts } from "../ca/ledger-notes.ts";
import { type LogReport, verifyLog } from "../ca/log/verify-log.ts";
import { AppError } from "../core/error.ts";
import { recordsFolder } from "../server/files.ts";
import { jsonLine } from "./authz/json-line.ts";
import { caFolder, KEY_OPTION, logVerifier, readTextFile } from "./ca-log.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";

function verify(parsed: ParsedArguments): LogReport {
  const folder = caFolder(parsed);
  const kept = parsed.values("checkpoint").map((where) => ({ where, note: readTextFile(where) }));
  const input = { folder: join(folder, "log"), verifier: logVerifier(parsed), kept, retainedSince: Date.now() - RETENTION_MS };
  if (parsed.flag("log-only")) return verifyLog({ ...input, rows: undefined });
  const database = openLedgerForReading(join(folder, "ledger.sqlite"));
  const jwtFile = join(recordsFolder(required(parsed, "state")), JWT_SVIDS_FILE);
  const jwtSvids = existsSync(jwtFile) ? new DatabaseSync(jwtFile, { readOnly: true }) : undefined;
  try {
    return verifyLog({
      ...input,
      rows: ledgerRows(database),
      notes: noteTexts(database),
      jwtSvids: (first, last) => (jwtSvids === undefined ? { count: 0, sha256: "" } : rootOfRows(jwtSvids, first, last)),
      keptJwtSvids: MAX_JWT_SVIDS,
    });
  } finally {
    database.close();
    jwtSvids?.close();
  }
}

/** A log without a checkpoint that its key has signed says nothing: that is an answer, and not a failure of the command. */
function reportOf(parsed: ParsedArguments): LogReport {
  try {
    return verify(parsed);
  } catch (thrown) {
    const { code, message, where = "checkpoint" } = AppError.from(thrown);
    const isFlaw = code === "unauthenticated" || (code === "invalid-configuration" && where === "checkpoint");
    if (!isFlaw) throw thrown;
    return { size: 0, certificates: 0, root: "", checkpoints: 0, waiting: 0, problems: [{ where, message }] };
  }
}

function format({ size, certificates, root, checkpoints, waiting, problems }: LogReport): string {
  if (problems.length > 0) return `${problems.map(({ where, message }) => `${where}: ${message}\n`).join("")}the log does NOT hold\n`;
  const rest = waiting === 0 ? "" : `${waiting} more wait for the next start, and were not handed out\n`;
  const others = size === certificates ? "" : `${size - certificates} of revocations and JWT-SVIDs, `;
  return `the log holds: ${certificates} certificates, ${others}root ${root}, ${checkpoints} checkpoints\n${rest}`;
}

export const command: Command = {
  name: "ca verify-log",
  summary: "Checks the whole log of issued certificates, its checkpoints, and the ledger beside it, with nothing running.",
  options: {
    key: KEY_OPTION,
    checkpoint: { type: "many", value: "FILE", doc: "a checkpoint that was kept elsewhere: it tells if the log was set back or rewritten" },
    "log-only": { type: "flag", doc: "leave the ledger out, which a running control plane keeps locked" },
    state: STATE_OPTION,
    json: JSON_OPTION,
  },
  examples: ["garrison ca verify-log", "garrison ca verify-log --key verifier.txt --checkpoint last-week.txt --log-only"],
  run: async (parsed) => {
    const report = reportOf(parsed);
    process.stdout.write(parsed.flag("json") ? jsonLine(report) : format(report));
    return report.problems.length === 0 ? EXIT.ok : EXIT.no;
  },
};
