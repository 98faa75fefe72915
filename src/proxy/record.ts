/** What is told of each decision, and of each connection for which there was none. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { DecisionRecordSchema } from "../gen/garrison/v1/proxy_pb.js";
import { type Decision, formatBecause } from "../policy/decision.ts";
import { formatOrigin } from "../policy/origin.ts";

export type RecordInit = Omit<MessageInitShape<typeof DecisionRecordSchema>, "$typeName" | "$unknown">;

/** Where records go; it never blocks and never fails. */
export interface Recorder {
  record(record: RecordInit): void;
}

/**
 * As much of a client's text as a record keeps, and one character more, by which the control plane sees that it was cut. A
 * copy: a part of a text would keep all of it in memory.
 */
export function told(text: string, limit: number): string {
  return text.length <= limit ? text : Buffer.from(text.slice(0, limit + 1), "latin1").toString("latin1");
}

/** What a decision adds to a record. */
export function verdictOf(decision: Decision): Pick<RecordInit, "effect" | "origin" | "audit" | "dryRun" | "dryRunOrigin"> {
  const { effect, because, audit, dryRun } = decision;
  const tried = dryRun === undefined ? {} : { dryRun: dryRun.effect, dryRunOrigin: formatBecause(dryRun.because) };
  return { effect, origin: formatBecause(because), audit: audit.map(formatOrigin), ...tried };
}

/** For refusals. */
export function refusal(detail: string): Pick<RecordInit, "effect" | "detail"> {
  return { effect: "refused", detail };
}

/** When something began, and how long it took until now; `start` is a `performance.now()`. */
export function timing(start: number): Pick<RecordInit, "timeMs" | "durationUs"> {
  const elapsed = performance.now() - start;
  return { timeMs: BigInt(Math.round(Date.now() - elapsed)), durationUs: BigInt(Math.round(elapsed * 1000)) };
}
