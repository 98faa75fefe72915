/** One line of the demo's table, as data and as text. */

/** What became of an attempt: let through, turned away by policy, or not even connected. */
export type Effect = "allow" | "deny" | "refused";

export interface Observation {
  readonly effect: Effect;
  /** What the one who tried saw: a status, an answer, how the connection ended. */
  readonly saw: string;
}

/** Something to try, and what must come of it. */
export interface Attempt {
  readonly who: string;
  readonly what: string;
  readonly expect: Effect;
  /** The deciding rule that the record must name; undefined where the record is not asked. */
  readonly rule: string | undefined;
  /** Where to find it in the record: the workload that decided, and the caller's SPIFFE ID. */
  readonly record: { readonly workload: string; readonly caller: string; readonly effect: Effect } | undefined;
  readonly run: () => Promise<Observation>;
}

export interface Row {
  readonly who: string;
  readonly what: string;
  readonly expected: string;
  readonly got: string;
  readonly rule: string;
  readonly ok: boolean;
  readonly milliseconds: number;
}

const HEADINGS = ["", "who", "tries", "expected", "got", "deciding rule"] as const;
const GREEN = "\u001b[32m";
const RED = "\u001b[31m";
const DIM = "\u001b[2m";
const PLAIN = "\u001b[0m";

function cells(row: Row): readonly string[] {
  return [row.ok ? "ok" : "NO", row.who, row.what, row.expected, row.got, row.rule];
}

function pad(texts: readonly string[], widths: readonly number[]): string {
  return texts
    .map((text, index) => text.padEnd(widths[index] ?? 0))
    .join("  ")
    .trimEnd();
}

/** The table, with colours where the reader is a terminal. */
export function formatTable(rows: readonly Row[], colour: boolean): string {
  const all = [HEADINGS, ...rows.map(cells)];
  const widths = HEADINGS.map((_, column) => Math.max(...all.map((texts) => texts[column]?.length ?? 0)));
  const paint = (code: string, text: string): string => (colour ? `${code}${text}${PLAIN}` : text);
  const lines = rows.map(
    (row) => paint(row.ok ? GREEN : RED, pad(cells(row).slice(0, 1), widths)) + pad(["", ...cells(row).slice(1)], [0, ...widths.slice(1)]),
  );
  return [paint(DIM, pad(HEADINGS, widths)), ...lines, ""].join("\n");
}
