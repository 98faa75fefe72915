/** Expectations asked of a real Envoy that is started for it, each beside the decision engine's answer to the same. */
import { networkInterfaces } from "node:os";
import { askedOf } from "../../analyze/asked-request.ts";
import { evaluate, meets, type Outcome } from "../../analyze/evaluate.ts";
import type { TestCase } from "../../analyze/test-case.ts";
import type { WorkloadView } from "../../analyze/workload-view.ts";
import type { AuthorizationLayers, CompiledRule, WorkloadPolicy } from "../../compile/workload-policy.ts";
import { AppError } from "../../core/error.ts";
import { firstAudit, type PlacedQuestion, ProvingEnvoy, together } from "../../prove/proving-envoy.ts";
import { endRequest } from "../signals.ts";
import { engineOf } from "./engine.ts";
import type { ViewSource } from "./mesh-source.ts";
import { expectedOf, problemOf, type TestResult } from "./run-tests.ts";

/** One test at one workload: what Envoy will be asked, or why it cannot be. */
interface Planned {
  readonly test: TestCase;
  readonly workload: string;
  readonly ask: { readonly policy: WorkloadPolicy } | { readonly problem: string } | "skipped";
}

function asksForAddress({ condition }: CompiledRule): boolean {
  if (condition.kind !== "when") return false;
  return [...condition.from, ...condition.to, condition.when].some((clauses) =>
    clauses.some(({ attribute }) => attribute === "destinationIp"),
  );
}

function rulesOf({ audit, deny, allow = [], dryRun }: AuthorizationLayers): readonly CompiledRule[] {
  return [...audit, ...deny, ...allow, ...(dryRun?.deny ?? []), ...(dryRun?.allow ?? [])];
}

function isLocal(address: string): boolean {
  if (address.startsWith("127.") || address === "::1") return true;
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some((own) => own.address === address));
}

/** Why a real Envoy on this machine cannot be asked; undefined where it can. */
function obstacle(policy: WorkloadPolicy, { request }: TestCase): string | undefined {
  const { http, tcp } = policy;
  const rules = [http, tcp].flatMap(rulesOf);
  if (request.sourceIp !== undefined && !isLocal(request.sourceIp))
    return `a real Envoy cannot be asked from ${request.sourceIp}, which is no address of this machine`;
  const entrances = [...policy.inbound, ...(policy.gateway?.listeners ?? [])];
  if (rules.some(asksForAddress) && !entrances.every(({ bind }) => bind.startsWith("127.") && bind !== "127.0.0.1"))
    return "a real Envoy cannot be asked: a rule asks for `destination.ip`, and the workload is tried at another address";
  if (request.authorizers !== undefined)
    return "a real Envoy cannot be asked: `authorizers` says what an extension provider answers, and Envoy would ask it itself";
  return undefined;
}

function planAt(view: WorkloadView, given: TestCase): Planned {
  const { policy } = view;
  const { workload } = policy;
  if (given.only === "decide") return { test: given, workload, ask: "skipped" };
  try {
    const test = { ...given, request: askedOf(view, given.request).request };
    const common = { test, workload };
    const problem = obstacle(policy, test);
    if (problem !== undefined) return { ...common, ask: { problem } };
    // A question without one meaning has no answer, whoever is asked; nor has a token of which nobody knows the keys.
    evaluate(engineOf(policy), policy, test.request);
    return { ...common, ask: { policy } };
  } catch (thrown) {
    return { test: given, workload, ask: { problem: problemOf(thrown) } };
  }
}

async function plan(source: ViewSource, tests: readonly TestCase[]): Promise<readonly Planned[]> {
  const known = new Map<string, readonly WorkloadView[] | string>();
  const planned: Planned[] = [];
  for (const test of tests) {
    const { workload } = test;
    const views = known.get(workload) ?? (await source(workload).catch(problemOf));
    known.set(workload, views);
    if (typeof views === "string") planned.push({ test, workload, ask: { problem: views } });
    else planned.push(...views.map((view) => planAt(view, test)));
  }
  return planned;
}

/** What Envoy and the engine must have in common; the words of a refusal are each one's own. */
function same(envoy: Outcome, offline: Outcome): boolean {
  const text = ({ effect, by, status, dryRun }: Outcome, audit: readonly string[]): string =>
    JSON.stringify([effect, by, status, audit, dryRun?.effect, dryRun?.by]);
  return text(envoy, envoy.audit) === text(offline, firstAudit(offline));
}

function resultOf({ test, workload }: Planned, got: Outcome, offline: Outcome): TestResult {
  const { name, place } = test;
  const expected = { ...expectedOf(test), audit: test.audit?.slice(0, 1) };
  const result = meets(got, expected) ? ("pass" as const) : ("fail" as const);
  const common = { name, place, workload, expected, result, got };
  return same(got, offline) ? common : { ...common, offline };
}

/** What Envoy says, and the decision engine; or why a question has no answer. */
type Answered = { readonly got: Outcome; readonly offline: Outcome } | { readonly problem: string };

interface Asked {
  readonly one: Planned;
  readonly policy: WorkloadPolicy;
}

/** Asks at policies that one Envoy can serve at a time. */
async function askTogether(envoy: ProvingEnvoy, policies: readonly WorkloadPolicy[], all: readonly Asked[]) {
  const placed = new Map((await envoy.load(policies)).map((one, index) => [policies[index], one]));
  const asked = all.flatMap(({ one, policy }) => {
    const where = placed.get(policy);
    return where === undefined ? [] : [{ one, question: { policy: where, request: one.test.request } satisfies PlacedQuestion }];
  });
  const outcomes = await envoy.askEach(asked.map(({ question }) => question));
  return asked.map(({ one, question: { policy, request } }, index): readonly [Planned, Answered] => {
    const got = outcomes[index];
    if (got === undefined || got instanceof Error) return [one, { problem: `a real Envoy gave no answer: ${got?.message ?? "none came"}` }];
    return [one, { got, offline: evaluate(engineOf(policy), policy, request) }];
  });
}

/** Asks in as few goes as can be; the answers stand with what was asked. */
async function askAll(envoy: ProvingEnvoy, planned: readonly Planned[]): Promise<ReadonlyMap<Planned, Answered>> {
  const asked = planned.flatMap((one) => (typeof one.ask === "object" && "policy" in one.ask ? [{ one, policy: one.ask.policy }] : []));
  const answers = new Map<Planned, Answered>();
  for (const policies of together([...new Set(asked.map(({ policy }) => policy))]))
    for (const [one, answer] of await askTogether(envoy, policies, asked)) answers.set(one, answer);
  return answers;
}

function unanswered(one: Planned): TestResult {
  const { test, workload, ask } = one;
  const { name, place } = test;
  const common = { name, place, workload, expected: expectedOf(test) };
  return typeof ask === "object" && "problem" in ask
    ? { ...common, result: "error", problem: ask.problem }
    : { ...common, result: "skipped" };
}

/** Nothing of Envoy outlives a command that is asked to end. */
async function interrupted(): Promise<never> {
  throw new AppError("unavailable", `the tests were cut short: ${await endRequest()}`);
}

/** Every test in order, by the Envoy at `program`. Throws `unavailable` where it cannot be run, or will not take what is rendered. */
export async function runTestsByEnvoy(program: string, source: ViewSource, tests: readonly TestCase[]): Promise<readonly TestResult[]> {
  const planned = await plan(source, tests);
  let envoy: ProvingEnvoy | undefined;
  const prove = async (): Promise<readonly TestResult[]> => {
    envoy = await ProvingEnvoy.start(program);
    const answers = await askAll(envoy, planned);
    return planned.map((one) => {
      const answer = answers.get(one);
      if (answer !== undefined && "got" in answer) return resultOf(one, answer.got, answer.offline);
      return unanswered(answer === undefined ? one : { ...one, ask: answer });
    });
  };
  try {
    return await Promise.race([prove(), interrupted()]);
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    throw new AppError("unavailable", "a real Envoy cannot be asked", { where: program, help: AppError.from(cause).message, cause });
  } finally {
    await envoy?.stop();
  }
}
