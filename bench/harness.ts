/** Runs ours and a peer in turns within one run, so that both meet the same machine, and prints the outcome as one line of JSON. */
import { cpus } from "node:os";

/** Does its work `count` times. */
export type Work = (count: number) => void | Promise<void>;

export interface Contest {
  readonly bench: string;
  readonly ours: Work;
  /** What users would pick instead, or what the machine allows at most. */
  readonly peer: Work;
  /** What the peer is, in words. */
  readonly peerName: string;
  /** How often each side works in one round; a round should take a few hundred milliseconds. */
  readonly count: number;
  readonly rounds?: number;
}

export interface Result {
  readonly bench: string;
  /** Medians of the rounds, per second. */
  readonly ours: number;
  readonly peer: number;
  readonly peerName: string;
  /** Median of `ours / peer` round by round: above 1 is faster than the peer. */
  readonly ratio: number;
  readonly unit: "per second";
  readonly rounds: number;
  readonly node: string;
  readonly cpu: string;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

async function rate(work: Work, count: number): Promise<number> {
  const start = performance.now();
  await work(count);
  return count / ((performance.now() - start) / 1000);
}

/** Warms both sides up, runs them in turns, prints the result to standard output and answers it. */
export async function compare({ bench, ours, peer, peerName, count, rounds = 7 }: Contest): Promise<Result> {
  await ours(count);
  await peer(count);
  const pairs: { readonly ours: number; readonly peer: number }[] = [];
  for (let round = 0; round < rounds; round++) pairs.push({ ours: await rate(ours, count), peer: await rate(peer, count) });
  const result: Result = {
    bench,
    ours: Math.round(median(pairs.map((pair) => pair.ours))),
    peer: Math.round(median(pairs.map((pair) => pair.peer))),
    peerName,
    ratio: Number(median(pairs.map((pair) => pair.ours / pair.peer)).toFixed(3)),
    unit: "per second",
    rounds,
    node: process.version,
    cpu: cpus()[0]?.model ?? "unknown",
  };
  console.log(JSON.stringify(result));
  return result;
}

export interface Timing {
  readonly perSecond: number;
  /** Of one call; the clock's own time, some tens of nanoseconds, is in it. */
  readonly medianNs: number;
  readonly p99Ns: number;
}

/** So many calls between two looks at the clock, where a single one is hardly longer than the look. */
const BATCH = 64;

/**
 * Calls `work` with 0, 1, 2, … for about `seconds`, after a warm-up of half as long. The rate and the median are of batches,
 * whose share of the clock is nothing; the 99th percentile is of calls that are timed one by one.
 */
export function timeCalls(work: (index: number) => unknown, seconds: number): Timing {
  let index = 0;
  const until = (duration: number, step: () => void): void => {
    for (const end = performance.now() + duration * 1000; performance.now() < end; ) step();
  };
  until(seconds / 2, () => work(index++));
  const batches: number[] = [];
  const start = performance.now();
  const first = index;
  until(seconds, () => {
    const began = process.hrtime.bigint();
    const size = batches.length > 0 && (batches.at(-1) ?? 0) > 100_000 ? 1 : BATCH;
    for (let call = 0; call < size; call++) work(index++);
    batches.push(Number(process.hrtime.bigint() - began) / size);
  });
  const perSecond = Math.round((index - first) / ((performance.now() - start) / 1000));
  const singles: number[] = [];
  until(seconds, () => {
    const began = process.hrtime.bigint();
    work(index++);
    singles.push(Number(process.hrtime.bigint() - began));
  });
  singles.sort((left, right) => left - right);
  return { perSecond, medianNs: Math.round(median(batches)), p99Ns: singles[Math.floor(singles.length * 0.99)] ?? Number.NaN };
}

/** Bytes that are in use, after a collection where Node lets one be asked for (`--expose-gc`). */
export function heapUsed(): number {
  for (let round = 0; round < 3; round++) globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

/** One line of JSON, with the machine. */
export function print(result: object): void {
  console.log(JSON.stringify({ ...result, node: process.version, cpu: cpus()[0]?.model ?? "unknown" }));
}
