/** The record's word on what the demo tried. */
import { parseJson } from "../../audit/format.ts";
import type { AuditRecord } from "../../audit/record.ts";
import { openAdmin } from "../admin-client.ts";
import type { Attempt, Observation, Row } from "./row.ts";
import type { Stage } from "./stage.ts";

/** An attempt that was made: when, and what was seen. */
export interface Tried {
  readonly attempt: Attempt;
  readonly observation: Observation;
  /** Milliseconds since the epoch. */
  readonly from: number;
  readonly to: number;
}

/** Proxies report within a fraction of a second; a busy machine may take longer. */
const PATIENCE_MS = 5000;
/** Proxies round the time to their own fractions. */
const SLACK_MS = 1;
/** On a busy machine a proxy notes that it refused somebody a moment after they have seen it. */
const LATE_MS = 100;
const MAX_DETAIL = 48;

async function recordsSince(stage: Stage, time: number): Promise<readonly AuditRecord[]> {
  const query = new URLSearchParams({ since: new Date(time - SLACK_MS).toISOString(), order: "oldest", limit: "10000" });
  const response = await openAdmin(stage.mesh.adminSocket, "GET", `/v1/audit?${query}`);
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  const lines = Buffer.concat(chunks).toString("utf8").split("\n");
  return lines.filter((line) => line !== "").map(parseJson);
}

function recordOf({ attempt, from, to }: Tried, records: readonly AuditRecord[]): AuditRecord | undefined {
  const wanted = attempt.record;
  return records.find(
    ({ workload, caller, effect, time }) =>
      wanted !== undefined &&
      workload === wanted.workload &&
      caller === wanted.caller &&
      effect === wanted.effect &&
      time >= from - SLACK_MS &&
      time <= to + LATE_MS,
  );
}

/**
 * The record of each attempt; none is taken twice, since attempts follow one another closely. By their times: a proxy's threads each report for themselves, so
 * that what came later may arrive sooner.
 */
function recordsOf(tried: readonly Tried[], records: readonly AuditRecord[]): readonly (AuditRecord | undefined)[] {
  const left = new Set(records.toSorted((one, other) => one.time - other.time));
  return tried.map((each) => {
    const record = recordOf(each, [...left]);
    if (record !== undefined) left.delete(record);
    return record;
  });
}

function shorten(text: string): string {
  return text.length <= MAX_DETAIL ? text : `${text.slice(0, MAX_DETAIL - 1)}…`;
}

function toRow(tried: Tried, record: AuditRecord | undefined): Row {
  const { attempt, observation, from, to } = tried;
  const rule = record === undefined ? "no record" : record.origin === "" ? shorten(record.detail) : record.origin;
  const recorded = attempt.record === undefined || record !== undefined;
  return {
    who: attempt.who,
    what: attempt.what,
    expected: attempt.expect,
    got: `${observation.effect} (${observation.saw})`,
    rule,
    ok: observation.effect === attempt.expect && recorded && (attempt.rule === undefined || attempt.rule === rule),
    milliseconds: Math.round(to - from),
  };
}

/** The rows of what was tried, with the deciding rule from the record, once all of it has arrived or patience ends. */
export async function rowsOf(stage: Stage, tried: readonly Tried[]): Promise<readonly Row[]> {
  const start = Math.min(...tried.map(({ from }) => from));
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const records = await recordsSince(stage, start);
    const found = recordsOf(tried, records);
    const complete = found.every((record, index) => record !== undefined || tried[index]?.attempt.record === undefined);
    if (complete || Date.now() > deadline) return tried.map((each, index) => toRow(each, found[index]));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
