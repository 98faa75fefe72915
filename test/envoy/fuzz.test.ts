/**
 * Random policies and requests, asked of the decision engine and of a real Envoy: the same effect, origin and audit. A
 * disagreement is shrunk and printed as a file for `test/corpus/cases`. `GARRISON_FUZZ_SECONDS` says for how long to search
 * (20 unless told), `GARRISON_FUZZ_SEED` repeats a search.
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { stringify } from "yaml";
import { evaluate, type Outcome } from "../../src/analyze/evaluate.ts";
import { decisionEngine } from "../corpus/engine.ts";
import { type CorpusFile, readCases } from "../corpus/load.ts";
import { type Plain, WORKLOAD, type World, world } from "./corpus-arbitraries.ts";
import { CorpusEnvoy, firstAudit } from "./corpus-envoy.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();
const SECONDS = Number(process.env.GARRISON_FUZZ_SECONDS ?? 20);
const SEED = Number(process.env.GARRISON_FUZZ_SEED ?? Date.now() % 2 ** 31);
/** How long a disagreement is made smaller. */
const SHRINK_MS = 60_000;
const FEWEST = 1_000;

/** Of one Envoy. The log streams of each workload are reset when it goes, and Node takes a thousand resets for an attack. */
const MOST_WORKLOADS = 150;

let engine: CorpusEnvoy | undefined;
let workloads = 0;

after(() => engine?.stop());

/** An Envoy that takes so many workloads more. */
async function engineFor(count: number): Promise<CorpusEnvoy> {
  workloads += count;
  if (engine !== undefined && workloads <= MOST_WORKLOADS) return engine;
  await engine?.stop();
  workloads = count;
  engine = await CorpusEnvoy.start();
  return engine;
}

/** The text of a corpus file with one case for each request. */
function toYaml(objects: readonly Plain[], tests: readonly Plain[]): string {
  return [...objects, { tests }].map((document) => stringify(document, { lineWidth: 0, flowCollectionPadding: true })).join("---\n");
}

/** Read as a corpus file is, so that decoding is a part of what is compared; what is expected does not count here. */
function read({ objects, requests }: World): CorpusFile {
  const tests = requests.map((request, index) => ({ name: `case ${index}`, workload: WORKLOAD, request, expect: "refused" }));
  return readCases(toYaml(objects, tests), "fuzz.yaml");
}

type Answer = Pick<Outcome, "effect" | "by" | "audit">;

interface Compared {
  readonly world: World;
  readonly request: Plain;
  readonly envoy: Answer;
  readonly decide: Answer;
}

/** Envoy tells of one AUDIT rule; the words of a refusal are each engine's own. */
function answerOf(outcome: Outcome): Answer {
  return { effect: outcome.effect, by: outcome.by, audit: firstAudit(outcome) };
}

/** Every request of every world, by both engines. */
async function compare(worlds: readonly World[]): Promise<readonly Compared[]> {
  const files = worlds.map(read);
  const envoy = await engineFor(files.length);
  const placed = await envoy.load(files.flatMap(({ policies }) => [...policies.values()]));
  const questions = worlds.flatMap((world, index) => {
    const [policy, tests] = [placed[index], files[index]?.tests];
    assert.ok(policy !== undefined && tests !== undefined);
    return world.requests.map((plain, at) => ({ world, plain, policy, request: tests[at]?.request ?? assert.fail("a request is lost") }));
  });
  const seen = await envoy.ask(questions);
  return questions.map(({ world, plain, policy, request }, index) => {
    const byEnvoy = answerOf(seen[index] ?? assert.fail("an answer is lost"));
    return { world, request: plain, envoy: byEnvoy, decide: answerOf(evaluate(decisionEngine(policy), policy, request)) };
  });
}

function disagreement(compared: readonly Compared[]): Compared | undefined {
  return compared.find(({ envoy, decide }) => !isDeepStrictEqual(envoy, decide));
}

/** A file for the corpus, that expects what the decision engine says. */
function report({ world, request, envoy, decide }: Compared): string {
  const { effect, by, audit } = decide;
  const expected = effect === "refused" ? { expect: effect } : { expect: effect, by, audit };
  const says = `# Envoy says ${envoy.effect} by ${envoy.by || "nobody"}, audit [${envoy.audit}].`;
  return `${says}\n${toYaml(world.objects, [{ name: "fuzz", workload: WORKLOAD, request, ...expected }])}`;
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

/** Without bias towards the small, since each batch costs Envoy about as much as another. */
const BATCH = fc.noBias(fc.array(world, { minLength: 1, maxLength: 12, size: "max" }));

/** One batch of worlds in Envoy at once; where they disagree, the smallest that still does. */
async function search(seed: number, tally: Tally): Promise<string | undefined> {
  let found: string | undefined;
  let end: number | undefined;
  const property = fc.asyncProperty(BATCH, async (worlds) => {
    // Time is up: whatever is smaller counts as agreeing, so that the smallest one that was seen to fail remains.
    if (end !== undefined && Date.now() > end) return;
    const compared = await compare(worlds);
    tally.add(compared);
    const different = disagreement(compared);
    if (different === undefined) return;
    end ??= Date.now() + SHRINK_MS;
    found = report(different);
    assert.fail("the engines disagree");
  });
  const { failed, errorInstance } = await fc.check(property, { seed, numRuns: 1 });
  if (!failed) return undefined;
  return found ?? String(errorInstance);
}

test("the decision engine and Envoy agree on random policies and requests", { skip }, async (context) => {
  const tally = new Tally();
  const end = Date.now() + SECONDS * 1000;
  for (let seed = SEED; Date.now() < end; seed++) {
    const found = await search(seed, tally);
    assert.ok(found === undefined, `GARRISON_FUZZ_SEED=${seed} found:\n${found}`);
  }
  context.diagnostic(`seed ${SEED}, ${tally}`);
  assert.ok(tally.comparisons >= FEWEST, String(tally));
  assert.deepEqual(tally.kinds, ["allow no-policy", "allow rule", "audited", "deny default", "deny rule", "refused "]);
});
