import assert from "node:assert/strict";
import { test } from "node:test";
import { type ArrivedSource, mergeArrived } from "./merge-arrived.ts";

interface Scripted extends ArrivedSource {
  readonly ended: () => boolean;
}

/** A source with lines named by their times, that fails at its end where it is told to. */
function source(name: string, times: readonly number[], failure?: string): Scripted {
  let ended = false;
  async function* lines() {
    try {
      for (const received of times) yield { received, line: `${name}${received}` };
      if (failure !== undefined) throw new Error(failure);
    } finally {
      ended = true;
    }
  }
  return { lines: lines(), lost: (thrown) => `${name}: ${(thrown as Error).message}`, ended: () => ended };
}

const merge = (sources: readonly ArrivedSource[], order: "oldest" | "newest", limit = 100) =>
  Array.fromAsync(mergeArrived(sources, order, limit));

test("lines come in the order of arrival, the oldest or the newest first, and at one moment in the order of the sources", async () => {
  assert.deepEqual(await merge([source("a", [1, 4, 4, 9]), source("b", [2, 4])], "oldest"), ["a1", "b2", "a4", "a4", "b4", "a9"]);
  assert.deepEqual(await merge([source("a", [9, 4, 1]), source("b", [4, 2]), source("c", [])], "newest"), ["a9", "a4", "b4", "b2", "a1"]);
});

test("no more come than are wanted, and every source is let go", async () => {
  const sources = [source("a", [1, 2, 3]), source("b", [1, 2, 3])];
  assert.deepEqual(await merge(sources, "oldest", 3), ["a1", "b1", "a2"]);
  assert.deepEqual(
    sources.map(({ ended }) => ended()),
    [true, true],
  );
});

test("a source that fails is told where its next line would be, and the others go on", async () => {
  const sources = [source("a", [1, 2], "gone"), source("b", [1, 3]), source("c", [], "away")];
  assert.deepEqual(await merge(sources, "oldest"), ["c: away", "a1", "b1", "a2", "a: gone", "b3"]);
});
