/** Lengths of time: `google.protobuf.Duration` in JSON (`1.5s`), and as Go writes them (`250ms`, `2m`). */
import { type Decoder, text, wrong } from "./reader.ts";
import { quote } from "./report.ts";

const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

export interface DurationBounds {
  /** Milliseconds, both allowed. */
  readonly leastMs: number;
  readonly maxMs: number;
  /** How to write it. */
  readonly help: string;
}

/** A time limit, in milliseconds. */
export function duration({ leastMs, maxMs, help }: DurationBounds): Decoder<number> {
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined) return undefined;
    const [, amount = "", unit = ""] = /^(\d{1,7}(?:\.\d{1,9})?)(h|ms|m|s)$/.exec(value) ?? [];
    const milliseconds = Number(amount) * (UNIT_MS[unit] ?? 0);
    if (milliseconds >= leastMs && milliseconds <= maxMs) return milliseconds;
    return wrong(cursor, "GAR0007", `is not a time limit: ${quote(value)}`, help);
  };
}
