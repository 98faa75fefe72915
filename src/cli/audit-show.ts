import type { Answer } from "../analyze/answer.ts";
import { formatRecord, parseLine, type ToldRecord } from "../audit/format.ts";
import type { AuditRecord } from "../audit/record.ts";
import { AppError } from "../core/error.ts";
import { formatOrigin, REVOKED } from "../policy/origin.ts";
import { readControlPlaneFile } from "../server/files.ts";
import { callAdminLines } from "./admin-client.ts";
import { formatAsked, formatDryRun, formatLayers, formatVerdict } from "./authz/format-answer.ts";
import { jsonLine } from "./authz/json-line.ts";
import { liveSource } from "./authz/mesh-source.ts";
import { answerNow } from "./authz/recorded.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";

/** Its number, and the replica that follows an `@`; empty where none does. */
function numberOf(text: string): { readonly id: number; readonly at: string } {
  const [, number = "", at = ""] = /^(\d{1,15})(@[a-z0-9-]{1,63})?$/.exec(text) ?? [];
  const id = Number(number);
  if (id > 0) return { id, at };
  throw new AppError("invalid-argument", `\`${text.slice(0, 100)}\` is not the number of a record`, {
    help: "take what stands at the beginning of a line of `garrison audit`",
  });
}

async function readRecord(socket: string, { id, at }: ReturnType<typeof numberOf>): Promise<ToldRecord> {
  const query = new URLSearchParams({ "after-id": `${id - 1}${at}`, limit: "1", order: "oldest" });
  const [line] = await callAdminLines(socket, `/v1/audit?${query}`);
  const told = line === undefined ? undefined : parseLine(line);
  if (told !== undefined && "unasked" in told)
    throw new AppError("unavailable", `the replica whose record it is could not be asked: ${told.unasked}`);
  if (told?.id === id) return told;
  throw new AppError("not-found", `there is no record ${id}${at}`, {
    help: "old records are removed; `garrison audit` shows the numbers that there are",
  });
}

/** What is in force now for the record's workload, asked the same; undefined where there is nothing to ask. */
async function askNow(state: string, record: AuditRecord): Promise<Answer | undefined> {
  if (isRevoked(record)) return undefined;
  try {
    const [view] = await liveSource(state)(record.workload);
    return view === undefined ? undefined : answerNow(view, record);
  } catch (thrown) {
    if (thrown instanceof AppError && thrown.code === "not-found") return undefined;
    throw thrown;
  }
}

/** Whether the rules in force now decide otherwise than was recorded. */
function hasChanged(record: AuditRecord, now: Answer): boolean {
  return now.effect !== "unknown" && (now.effect !== record.effect || now.by !== record.origin);
}

function isRevoked({ origin }: AuditRecord): boolean {
  return origin === formatOrigin(REVOKED);
}

/** Whether any rule asks for what is not recorded. */
function hasUnknown({ layers, dryRun }: Answer): boolean {
  return [...layers, ...(dryRun?.layers ?? [])].some(({ rules }) => rules.some(({ result }) => result === "unknown"));
}

const UNKNOWN = "the record holds neither headers nor the server name of the TLS handshake: what rules ask of them is unknown";

function explanationOf(record: AuditRecord, now: Answer | undefined): readonly string[] {
  if (record.effect === "lost") return ["its proxy made these records while nobody took them in, and could not keep them all"];
  if (record.effect === "refused") return ["it was refused before any rule was asked"];
  if (isRevoked(record)) return [`the caller's certificate is revoked, which denies whatever the rules say: \`garrison ca revocations\``];
  if (now === undefined) return ["the workload or its listener is not in the mesh any more: no rule can be asked"];
  const changed = "this is not what was recorded: the policies have changed since, or had not reached the proxy";
  return [
    formatAsked(now),
    formatLayers(now.layers),
    `by the rules in force now: ${formatVerdict(now)}${formatDryRun(now)}`,
    ...(hasChanged(record, now) ? [changed] : []),
    ...(hasUnknown(now) ? [UNKNOWN] : []),
  ];
}

export const command: Command = {
  name: "audit show",
  summary: "Explains one decision of the record by the rules in force now.",
  operands: "ID[@REPLICA]",
  arity: [1, 1],
  options: { state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison audit --effect deny", "garrison audit show 17", "garrison audit show 17@3f9c2a71b0"],
  run: async (parsed) => {
    const number = numberOf(parsed.positionals[0] ?? "");
    const state = required(parsed, "state");
    const { adminSocket, trustDomain } = readControlPlaneFile(state);
    const record = await readRecord(adminSocket, number);
    const now = await askNow(state, record);
    if (parsed.flag("json")) {
      const changed = now !== undefined && hasChanged(record, now);
      process.stdout.write(jsonLine({ record: { ...record, time: new Date(record.time).toISOString() }, now: now ?? null, changed }));
      return EXIT.ok;
    }
    const line = formatRecord(record, { colour: process.stdout.isTTY === true, trustDomain });
    process.stdout.write(`${[line, ...explanationOf(record, now)].join("\n")}\n`);
    return EXIT.ok;
  },
};
