/** Runs the test files of one tier with `node --test` and counts what came out. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, relative } from "node:path";
import type { ReportedEvent } from "./events-reporter.ts";
import { MARKER, type RunIdentity, reapOrphans } from "./orphans.ts";

/** Of one test, in milliseconds; a whole tier has TIER_TIMEOUT, since an open handle keeps a file alive after its tests. */
const TEST_TIMEOUT = 120_000;
const TIER_TIMEOUT = 15 * 60_000;

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface TierResult {
  readonly counts: Counts;
  /** What is wrong besides failed tests; each is in `failed` too. */
  readonly problems: readonly string[];
}

export interface TierRun {
  readonly root: string;
  /** Relative to the root; at least one. */
  readonly files: readonly string[];
  readonly concurrency: number | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds until the whole tier is killed. */
  readonly timeout?: number;
}

interface Ended {
  readonly session: number;
  readonly code: number | null;
  readonly timedOut: boolean;
}

/** Runs `node` in a session of its own, so that whatever it leaves behind is known by it. */
function runNode(run: TierRun, args: readonly string[], marker: string): Promise<Ended> {
  // Node's own marker of a test process would make a run inside of a test a part of the outer one.
  const env = { ...run.env, [MARKER]: marker, NODE_TEST_CONTEXT: undefined };
  const child = spawn(process.execPath, args, { cwd: run.root, env, detached: true, stdio: ["ignore", "inherit", "inherit"] });
  const { pid = 0 } = child;
  const kill = (signal: NodeJS.Signals) => pid > 0 && child.exitCode === null && process.kill(-pid, signal);
  const stop = () => {
    kill("SIGKILL");
    process.exit(130);
  };
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    kill("SIGKILL");
  }, run.timeout ?? TIER_TIMEOUT);
  process.once("SIGINT", stop).once("SIGTERM", stop);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => {
      clearTimeout(timer);
      process.off("SIGINT", stop).off("SIGTERM", stop);
      resolve({ session: pid, code, timedOut });
    });
  });
}

function readEvents(file: string): readonly ReportedEvent[] {
  const lines = readFileSync(file, "utf8").split("\n");
  return lines.filter((line) => line.endsWith("}")).map((line) => JSON.parse(line));
}

/** Files that neither failed nor ran a test: Node counts such a file as a passed test. */
function filesWithoutTests(run: TierRun, events: readonly ReportedEvent[]): readonly string[] {
  const seen = new Set(events.flatMap(({ file }) => (file === undefined ? [] : [relative(run.root, file)])));
  return run.files.filter((file) => !seen.has(file));
}

/** What went wrong in the running itself. `without` are the files that showed no test. */
function problemsOf(ended: Ended, finished: boolean, without: readonly string[]): readonly string[] {
  if (ended.timedOut) return [`did not end in time and was killed; not ended: ${without.join(", ")}`];
  if (!finished) return [`ended with exit code ${ended.code} and without a result`];
  return without.map((file) => `${file} has no test`);
}

async function orphanProblems(identity: RunIdentity): Promise<readonly string[]> {
  const orphans = await reapOrphans(identity);
  return orphans.map(({ pid, command }) => `left a process behind: ${pid} \`${command}\``);
}

/** Runs a tier. Cancelled tests count as failed; a problem counts as one failure. */
export async function runTier(run: TierRun): Promise<TierResult> {
  const work = mkdtempSync(join(tmpdir(), "garrison-tests-"));
  const eventsFile = join(work, "events");
  const marker = randomUUID();
  const options = [`--test-concurrency=${run.concurrency ?? availableParallelism()}`, `--test-timeout=${TEST_TIMEOUT}`];
  const spec = ["--test-reporter=spec", "--test-reporter-destination=stdout"];
  const own = [`--test-reporter=${join(import.meta.dirname, "events-reporter.ts")}`, `--test-reporter-destination=${eventsFile}`];
  try {
    const ended = await runNode(run, ["--test", ...options, ...spec, ...own, ...run.files], marker);
    const events = readEvents(eventsFile);
    const sums = events.find(({ type, file }) => type === "summary" && file === undefined)?.counts;
    const without = filesWithoutTests(run, events);
    const orphans = await orphanProblems({ marker, session: ended.session });
    const problems = [...problemsOf(ended, sums !== undefined, without), ...orphans];
    const { passed = without.length, failed = 0, cancelled = 0, skipped = 0, todo = 0 } = sums ?? {};
    const counts = { passed: passed - without.length, failed: failed + cancelled + problems.length, skipped: skipped + todo };
    return { counts, problems };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
