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
