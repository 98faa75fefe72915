/**
 * Runs the tests, tier by tier, and says at the end what ran, what could not and how to get it; the last line is
 * `N passed, N failed, N skipped`.
 *
 *     node tools/test.ts [--require-all] [PATTERN…]
 *
 * A PATTERN is a part of a test file's path. With `--require-all` (or `GARRISON_REQUIRE=all`) a tier that cannot run is a failure.
 */
import { dirname } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { type Counts, runTier } from "./test/run-tier.ts";
import { filesOf, strayFiles, TIERS, type Tier } from "./test/tiers.ts";

interface Outcome {
  readonly counts: Counts;
  /** What the list at the end says of it. */
  readonly lines: readonly string[];
}

interface Options {
  readonly root: string;
  readonly requireAll: boolean;
  readonly patterns: readonly string[];
}

function readOptions(argv: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { "require-all": { type: "boolean", default: false }, root: { type: "string" } },
  });
  return {
    root: values.root ?? dirname(import.meta.dirname),
    requireAll: values["require-all"] || process.env.GARRISON_REQUIRE === "all",
    patterns: positionals,
  };
}

function formatCounts({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** Undefined when the tier has no file here. */
async function runOne(tier: Tier, options: Options): Promise<Outcome | undefined> {
  const { root, requireAll, patterns } = options;
  const files = filesOf(root, tier).filter((file) => patterns.length === 0 || patterns.some((pattern) => file.includes(pattern)));
  if (files.length === 0) return undefined;
  const availability = await tier.available();
  if (!availability.ready) {
    const counts = { passed: 0, failed: requireAll ? 1 : 0, skipped: requireAll ? 0 : files.length };
    const how = `${files.length} ${files.length === 1 ? "file" : "files"} not run: ${availability.reason}; to get it, ${tier.howToGet}`;
    return { counts, lines: [`${tier.name}: ${requireAll ? "FAILED, " : ""}${how}`] };
  }
  console.log(`\n--- ${tier.name}: ${files.length} ${files.length === 1 ? "file" : "files"}`);
  const required = requireAll ? { GARRISON_REQUIRE: "all", ...tier.required } : {};
  const { counts, problems } = await runTier({
    root,
    files,
    concurrency: tier.concurrency,
    env: { ...process.env, ...availability.env, ...required },
  });
  return { counts, lines: [`${tier.name}: ${formatCounts(counts)}`, ...problems.map((problem) => `${tier.name}: FAILED, ${problem}`)] };
}

function sum(outcomes: readonly Outcome[]): Counts {
  const add = (key: keyof Counts) => outcomes.reduce((total, { counts }) => total + counts[key], 0);
  return { passed: add("passed"), failed: add("failed"), skipped: add("skipped") };
}

function mistake(line: string): Outcome {
  return { counts: { passed: 0, failed: 1, skipped: 0 }, lines: [`FAILED, ${line}`] };
}

async function main(argv: readonly string[]): Promise<void> {
  const options = readOptions(argv);
  const outcomes: Outcome[] = strayFiles(options.root).map((file) => mistake(`${file} is in no tier of tools/test/tiers.ts`));
  let ran = 0;
  for (const tier of TIERS) {
    const outcome = await runOne(tier, options);
    if (outcome === undefined) continue;
    outcomes.push(outcome);
    ran++;
  }
  if (ran === 0) outcomes.push(mistake(`no test file matches \`${options.patterns.join(" ")}\``));
  const total = sum(outcomes);
  console.log(`\n${[...outcomes.flatMap(({ lines }) => lines), "", formatCounts(total)].join("\n")}`);
  process.exitCode = total.failed === 0 ? 0 : 1;
}

await main(process.argv.slice(2));
