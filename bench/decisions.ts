/**
 * Decisions a second, and how they grow with the number of rules: the embedded engine against cedar-wasm, casbin and OPA, on
 * the same rules and requests, whose answers are compared before anything is timed. `node bench/decisions.ts [RULES…]`.
 */
import { deepEqual } from "node:assert/strict";
import { compileDecision } from "../src/render/decide/decide.ts";
import { type BenchRequest, type BenchRule, type Contestant, makeRequests, makeRules, toFacts, toPolicy } from "./decisions/workload.ts";
import { heapUsed, print, type Timing, timeCalls } from "./harness.ts";
import { casbin } from "./peers/casbin.ts";
import { cedar } from "./peers/cedar.ts";
import { findOpa } from "./peers/install.ts";
import { opaAnswers, opaTiming } from "./peers/opa.ts";

/** Different requests of one size; a power of two. */
const REQUESTS = 256;
const SECONDS = 1;
const BENCH = "decisions";

interface Built extends Contestant {
  readonly buildMs: number;
  readonly megabytes: number;
}

/** Build time is of the second build, when the code is warm; the index is arranged at the first decision. */
function garrison(rules: readonly BenchRule[], requests: readonly BenchRequest[]): Built {
  const facts = requests.map(toFacts);
  const first = facts[0] ?? toFacts({ principal: "", namespace: "", method: "", path: "" });
  compileDecision(toPolicy(rules)).http(first);
  const policy = toPolicy(rules);
  const before = heapUsed();
  const start = performance.now();
  const engine = compileDecision(policy);
  engine.http(first);
  const buildMs = performance.now() - start;
  const megabytes = (heapUsed() - before) / 1e6;
  return { name: "garrison", decide: (index) => engine.http(facts[index] ?? first).effect === "allow", buildMs, megabytes };
}

function answersOf(contestant: Contestant): readonly boolean[] {
  return Array.from({ length: REQUESTS }, (_, index) => contestant.decide(index));
}

async function run(count: number, opa: string | undefined): Promise<Timing> {
  const rules = makeRules(count);
  const requests = makeRequests(rules, REQUESTS);
  const ours = garrison(rules, requests);
  const peers = [cedar(rules, requests), await casbin(rules, requests)];
  const expected = answersOf(ours);
  for (const peer of peers) deepEqual(answersOf(peer), expected, `${peer.name} answers otherwise`);
  if (opa !== undefined) deepEqual(opaAnswers(opa, rules, requests), expected, "OPA answers otherwise");

  const timing = timeCalls((index) => ours.decide(index % REQUESTS), SECONDS);
  const { buildMs, megabytes } = ours;
  print({
    bench: BENCH,
    rules: count,
    engine: ours.name,
    ...timing,
    buildMs: Math.round(buildMs),
    megabytes: Number(megabytes.toFixed(1)),
  });
  const tell = (engine: string, peer: Timing): void =>
    print({ bench: BENCH, rules: count, engine, ...peer, ratio: Number((peer.medianNs / timing.medianNs).toFixed(1)) });
  for (const peer of peers)
    tell(
      peer.name,
      timeCalls((index) => peer.decide(index % REQUESTS), SECONDS),
    );
  if (opa !== undefined)
    tell(
      "opa",
      opaTiming(
        opa,
        rules,
        [requests[0], requests[REQUESTS - 1]].flatMap((request) => request ?? []),
      ),
    );
  return timing;
}

const sizes = process.argv.slice(2).map(Number);
const counts = sizes.length === 0 ? [10, 1000, 10_000] : sizes;
const opa = findOpa();
if (opa === undefined) console.error("opa is left out: there is no Go to build it with");
const timings: Timing[] = [];
for (const count of counts) timings.push(await run(count, opa));
const [least, most] = [timings[0]?.medianNs ?? Number.NaN, timings.at(-1)?.medianNs ?? Number.NaN];
print({ bench: "decisions, growth", rules: [counts[0], counts.at(-1)], ratio: Number((most / least).toFixed(2)) });
