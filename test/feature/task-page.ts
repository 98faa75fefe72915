/** A page of `docs/tasks` as what it tells its reader to do, and what the reader then sees. */

export interface Step {
  /** Where the block begins in the page, counted from 1. */
  readonly line: number;
  /** Shell commands. */
  readonly commands: string;
  /** What they print; undefined where the page does not say. */
  readonly expected: string | undefined;
  /** It takes a moment until it is so: the commands may be given again. */
  readonly eventually: boolean;
}

/** Marks, unseen by a reader, the next commands as such that may be given again until they print what is expected. */
const EVENTUALLY = "<!-- eventually -->";
const BLOCK = /^(?:(<!-- eventually -->)\n)?```(\w+)\n([\s\S]*?)\n```$/gm;

/** The `sh` blocks of a page, in order, each with the `text` block that follows it. Throws for other markers, which would do nothing. */
export function parseTaskPage(page: string): readonly Step[] {
  const steps: Step[] = [];
  for (const { 1: marker, 2: language, 3: body = "", index } of page.matchAll(BLOCK)) {
    const last = steps.at(-1);
    if (language === "sh") {
      const line = page.slice(0, index).split("\n").length;
      steps.push({ line, commands: body, expected: undefined, eventually: marker !== undefined });
    } else if (language === "text" && last !== undefined && last.expected === undefined && marker === undefined) {
      steps[steps.length - 1] = { ...last, expected: body };
    } else {
      throw new Error(`a \`${language}\` block that belongs to no commands:\n${body}`);
    }
  }
  const markers = page.split(EVENTUALLY).length - 1;
  if (markers !== steps.filter(({ eventually }) => eventually).length) throw new Error("an `eventually` that stands before no commands");
  const pointless = steps.find(({ eventually, expected }) => eventually && expected === undefined);
  if (pointless !== undefined) throw new Error(`line ${pointless.line}: \`eventually\` what? no text follows`);
  return steps;
}

const TIME = /\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g;

/** The number of a record, before its time. */
const RECORD = /^ *\d+ (?=TIME )/;

function normalize(line: string): string {
  return line.replace(TIME, "TIME").replace(RECORD, "ID ").trimEnd();
}

function lineMatches(expected: string, printed: string): boolean {
  const parts = normalize(expected).split("…");
  const [first = "", ...others] = parts;
  const last = others.pop();
  const line = normalize(printed);
  if (last === undefined) return line === first;
  if (!line.startsWith(first) || !line.endsWith(last)) return false;
  let from = first.length;
  for (const part of others) {
    const at = line.indexOf(part, from);
    if (at < 0) return false;
    from = at + part.length;
  }
  return from <= line.length - last.length;
}

function linesMatch(expected: readonly string[], printed: readonly string[]): boolean {
  const [first, ...rest] = expected;
  if (first === undefined) return printed.length === 0;
  if (first === "…") return printed.some((_, index) => linesMatch(rest, printed.slice(index))) || linesMatch(rest, []);
  const [line, ...others] = printed;
  return line !== undefined && lineMatches(first, line) && linesMatch(rest, others);
}

/** Whether that was printed, line by line: `…` alone stands for any lines or none, within a line for any text; times are all alike, and the numbers of records. */
export function outputMatches(expected: string, printed: string): boolean {
  return linesMatch(expected.split("\n"), printed.replace(/\n$/, "").split("\n"));
}
