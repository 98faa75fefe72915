/**
 * Random policies and requests, asked of the decision engine and of a real Envoy: the same effect, origin and audit. A
 * disagreement is shrunk and printed as a file for `test/corpus/cases`. `GARRISON_FUZZ_SECONDS` says for how long to search
 * (20 unless told), `GARRISON_FUZZ_SEED` repeats a search.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { evaluate, type Outcome } from "../../src/analyze/evaluate.ts";
import { firstAudit, ProvingEnvoy } from "../../src/prove/proving-envoy.ts";
import { decisionEngine } from "../corpus/engine.ts";
import type { Plain } from "./corpus-policies.ts";
import { readWorld, smallerWorlds, toYaml, WORKLOAD, type World, worlds } from "./corpus-world.ts";
import { findEnvoy, skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();
const SECONDS = Number(process.env.GARRISON_FUZZ_SECONDS ?? 20);
const SEED = Number(process.env.GARRISON_FUZZ_SEED ?? Date.now() % 2 ** 31);
/** How long a disagreement is made smaller. */
const SHRINK_MS = 45_000;
/** Smaller worlds that are tried at once. */
const SHRINK_BATCH = 40;
const FEWEST = 1_000;

/** Of one Envoy. The log streams of each workload are reset when it goes, and Node takes a thousand resets for an attack. */
const MOST_WORKLOADS = 150;

let engine: ProvingEnvoy | undefined;
let workloads = 0;

after(() => engine?.stop());

/** An Envoy that takes so many workloads more. */
async function engineFor(count: number): Promise<ProvingEnvoy> {
  workloads += count;
  if (engine !== undefined && workloads <= MOST_WORKLOADS) return engine;
  await engine?.stop();
  workloads = count;
  engine = await ProvingEnvoy.start(findEnvoy() ?? "");
  return engine;
}

type Answer = Pick<Outcome, "effect" | "by" | "audit">;

interface Compared {
  readonly world: World;
  readonly request: Plain;
  /** In Envoy's words, or the client's. */
  readonly why: string;
  readonly envoy: Answer;
  readonly decide: Answer;
}

/** Envoy tells of one AUDIT rule; the words of a refusal are each engine's own. */
function answerOf(outcome: Outcome): Answer {
  return { effect: outcome.effect, by: outcome.by, audit: firstAudit(outcome) };
}

/** Every request of every world, by both engines. */
async function compare(asked: readonly World[]): Promise<readonly Compared[]> {
  const files = asked.map(readWorld);
  const envoy = await engineFor(files.length);
  const placed = await envoy.load(files.flatMap(({ policies }) => [...policies.values()]));
  const questions = asked.flatMap((world, index) => {
    const [policy, tests] = [placed[index], files[index]?.tests];
    assert.ok(policy !== undefined && tests !== undefined);
    return world.requests.map((plain, at) => ({ world, plain, policy, request: tests[at]?.request ?? assert.fail("a request is lost") }));
  });
  const seen = await envoy.ask(questions);
  return questions.map(({ world, plain, policy, request }, index) => {
    const byEnvoy = seen[index] ?? assert.fail("an answer is lost");
    return {
      world,
      request: plain,
      why: byEnvoy.why,
      envoy: answerOf(byEnvoy),
      decide: answerOf(evaluate(decisionEngine(policy), policy, request)),
    };
  });
}

function disagreement(compared: readonly Compared[]): Compared | undefined {
  return compared.find(({ envoy, decide }) => !isDeepStrictEqual(envoy, decide));
}

/** A file for the corpus, that expects what the decision engine says. */
function report({ world, request, why, envoy, decide }: Compared): string {
  const { effect, by, audit } = decide;
  const expected = effect === "refused" ? { expect: effect } : { expect: effect, by, audit };
  const says = `# Envoy says ${envoy.effect} by ${envoy.by || "nobody"}, audit [${envoy.audit}] (${why}).`;
  return `${says}\n${toYaml(world.policies, [{ name: "fuzz", workload: WORKLOAD, request, ...expected }])}`;
}

/** What a search has found out about itself: that it asked enough, and of everything. */
class Tally {
  readonly #counts = new Map<string, number>();
  comparisons = 0;

  add(compared: readonly Compared[]): void {
    this.comparisons += compared.length;
    for (const { effect, by, audit } of compared.map(({ envoy }) => envoy)) {
      for (const kind of [`${effect} ${by.includes("[") ? "rule" : by}`, ...(audit.length > 0 ? ["audited"] : [])])
        this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    }
  }

  get kinds(): readonly string[] {
    return [...this.#counts.keys()].sort();
  }

  toString(): string {
    return `${this.comparisons} comparisons: ${[...this.#counts].map(([kind, count]) => `${kind.trim()} ${count}`).join(", ")}`;
  }
}

/** The smallest world that still is disagreed about, as far as there is time. */
async function shrink(found: Compared): Promise<Compared> {
  const end = Date.now() + SHRINK_MS;
  let smallest = found;
  const smaller = async (): Promise<Compared | undefined> => {
    const { world, request } = smallest;
    const candidates = smallerWorlds({ policies: world.policies, requests: [request] });
    for (let start = 0; start < candidates.length && Date.now() < end; start += SHRINK_BATCH) {
      const different = disagreement(await compare(candidates.slice(start, start + SHRINK_BATCH)));
      if (different !== undefined) return different;
    }
    return undefined;
  };
  for (let next = await smaller(); next !== undefined; next = await smaller()) smallest = next;
  return smallest;
}

/** What a seed finds, as a file; a world that Envoy would not have at all is found as well. */
async function search(seed: number, tally: Tally): Promise<string | undefined> {
  const [batch = []] = fc.sample(worlds, { seed, numRuns: 1 });
  const compared = await compare(batch);
  tally.add(compared);
  const different = disagreement(compared);
  return different === undefined ? undefined : report(await shrink(different));
}

test("the decision engine and Envoy agree on random policies and requests", { skip }, async (context) => {
  const tally = new Tally();
  context.diagnostic(`seed ${SEED}`);
  const start = Date.now();
  // A machine that has much else to do gets more time for the fewest.
  const seconds = () => (tally.comparisons < FEWEST ? SECONDS + 60 : SECONDS);
  for (let seed = SEED; Date.now() < start + seconds() * 1000; seed++) {
    const found = await search(seed, tally).catch((error: Error) => error.message);
    assert.ok(found === undefined, `GARRISON_FUZZ_SEED=${seed} found:\n${found}`);
  }
  context.diagnostic(String(tally));
  assert.ok(tally.comparisons >= FEWEST, String(tally));
  assert.deepEqual(tally.kinds, ["allow no-policy", "allow rule", "audited", "deny default", "deny rule", "refused "]);
});
