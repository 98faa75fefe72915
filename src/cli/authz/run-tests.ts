/** Expectations asked of what is in force. */
import { type Answer, answer } from "../../analyze/answer.ts";
import { askedOf } from "../../analyze/asked-request.ts";
import { type Engine, type Expected, evaluate, meets, type Outcome } from "../../analyze/evaluate.ts";
import type { TestCase } from "../../analyze/test-case.ts";
import type { WorkloadView } from "../../analyze/workload-view.ts";
import type { Place } from "../../core/diagnostic.ts";
import { AppError } from "../../core/error.ts";
import { EXPLAINING, engineOf } from "./engine.ts";
import { formatPlace } from "./format-answer.ts";
import type { ViewSource } from "./mesh-source.ts";

/** What came of one test at one workload; a service's test is asked of each workload behind it. */
export interface TestResult {
  readonly name: string;
  readonly place: Place;
  readonly workload: string;
  /** `error`: the question has no answer. `skipped`: it can only be asked of a real Envoy. */
  readonly result: "pass" | "fail" | "error" | "skipped";
  readonly expected: Expected;
  /** For `pass` and `fail`. */
  readonly got?: Outcome;
  /** The decision engine's answer, where a real Envoy was asked and says otherwise. */
  readonly offline?: Outcome;
  /** For `fail`: the whole answer. For `error`: why there is none. */
  readonly answer?: Answer;
  readonly problem?: string;
}

/** What a test asks for. */
export function expectedOf({ expect, by, audit, dryRun, dryRunBy }: TestCase): Expected {
  return { expect, by, audit, ...(dryRun === undefined ? {} : { dryRun }), ...(dryRunBy === undefined ? {} : { dryRunBy }) };
}

/** Mistakes of the question, which are the test's; anything else ends the command. */
export function problemOf(thrown: unknown): string {
  if (!(thrown instanceof AppError) || (thrown.code !== "not-found" && thrown.code !== "invalid-argument")) throw thrown;
  return thrown.help === undefined ? thrown.message : `${thrown.message}; ${thrown.help}`;
}

/** A workload with its rules compiled once for all tests. */
interface Asked {
  readonly view: WorkloadView;
  readonly engine: Engine;
}

function runAt({ view, engine }: Asked, test: TestCase): TestResult {
  const common = { name: test.name, place: test.place, workload: view.policy.workload, expected: expectedOf(test) };
  try {
    const got = evaluate(engine, view.policy, askedOf(view, test.request).request);
    if (meets(got, test)) return { ...common, result: "pass", got };
    return { ...common, result: "fail", got, answer: answer(EXPLAINING, view, test.request) };
  } catch (thrown) {
    return { ...common, result: "error", problem: problemOf(thrown) };
  }
}

/** Every test in order. Throws where what is in force cannot be asked at all. */
export async function runTests(source: ViewSource, tests: readonly TestCase[]): Promise<readonly TestResult[]> {
  const known = new Map<string, readonly Asked[] | string>();
  const find = async (workload: string): Promise<readonly Asked[]> =>
    (await source(workload)).map((view) => ({ view, engine: engineOf(view.policy) }));
  const results: TestResult[] = [];
  for (const test of tests) {
    const { name, place, workload, only } = test;
    const common = { name, place, workload, expected: expectedOf(test) };
    if (only === "envoy") {
      results.push({ ...common, result: "skipped" });
      continue;
    }
    const asked = known.get(workload) ?? (await find(workload).catch(problemOf));
    known.set(workload, asked);
    if (typeof asked === "string") results.push({ ...common, result: "error", problem: asked });
    else results.push(...asked.map((each) => runAt(each, test)));
  }
  return results;
}

/** `allow by shop/readers[0]`, `refused with 403`. */
function words(
  effect: TestCase["expect"] | Outcome["effect"],
  by: string | undefined,
  audit: readonly string[] | undefined,
  status?: Outcome["status"],
): string {
  const answered = status === undefined ? "" : ` with ${status}`;
  const origin = by === undefined || by === "" ? "" : ` by ${by}`;
  const rules = audit === undefined ? "" : ` with audit rules [${audit.join(", ")}]`;
  return `${effect}${answered}${origin}${rules}`;
}

/** Why it came otherwise: the verdict in words, and the rule that came nearest. */
function whyLines({ why, layers }: Answer): readonly string[] {
  const nearest = layers.filter(({ asked }) => asked).flatMap(({ rules }) => rules.filter((rule) => rule.nearest));
  const lines = nearest.map(
    ({ rule, place, reasons }) => `  nearest: ${rule}${place === undefined ? "" : ` (${formatPlace(place)})`}: ${reasons[0] ?? ""}`,
  );
  return [`  ${why}`, ...lines];
}

/** What dry runs do, or should do; empty where a test does not ask. */
function tried({ dryRun, dryRunBy }: Expected, effect: Outcome["effect"] | undefined = dryRun, by: string | undefined = dryRunBy): string {
  if (dryRun === undefined && dryRunBy === undefined) return "";
  return `, and ${effect ?? "any effect"}${by === undefined ? "" : ` by ${by}`} were dry runs in force`;
}

function triedBy(expected: Expected, { dryRun, effect, by }: Outcome): string {
  const got = dryRun ?? { effect, by };
  return tried(expected, got.effect, got.by);
}

/** Two engines that should be one: a defect of one of them. */
function disagreement(envoy: Outcome, offline: Outcome): string {
  const told = (outcome: Outcome): string =>
    `${words(outcome.effect, outcome.by, outcome.audit, outcome.status)}${outcome.dryRun === undefined ? "" : `, dry run ${words(outcome.dryRun.effect, outcome.dryRun.by, undefined)}`}`;
  return `the engines disagree: Envoy says ${told(envoy)}, the decision engine ${told(offline)}; please report it`;
}

/** A test that did not pass, as people read it; undefined for one that did. */
export function formatFailure(one: TestResult): string | undefined {
  const { name, place, workload, result, expected, got, answer: whole, problem, offline } = one;
  const where = `${formatPlace(place)}:${place.column}: ${name} (${workload})`;
  if (result === "error") return `${where}: ${problem ?? ""}`;
  const differs = offline === undefined || got === undefined ? undefined : disagreement(got, offline);
  if (result === "pass" && differs !== undefined) return `${where}: as expected, but ${differs}`;
  if (result !== "fail" || got === undefined) return undefined;
  const wanted = words(expected.expect, expected.by, expected.audit);
  const came = words(got.effect, got.by, expected.audit === undefined ? undefined : got.audit, got.status);
  return [
    `${where}: expected ${wanted}${tried(expected)}, got ${came}${triedBy(expected, got)}`,
    ...(whole === undefined ? [] : whyLines(whole)),
    ...(differs === undefined ? [] : [`  ${differs}`]),
  ].join("\n");
}
