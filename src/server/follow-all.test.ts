import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Followed, type FollowedReplicas, followAll } from "./follow-all.ts";

/** Replicas whose lines are pushed by the test; a line that is an Error loses the replica. */
function setUp(t: TestContext, names: readonly string[]) {
  const alive = new Set(names);
  const asked: string[] = [];
  const pending = new Map<string, (number | Error)[]>();
  const replicas: FollowedReplicas = {
    names: () => [...alive],
    async *linesOf(name, after, signal) {
      asked.push(`${name} after ${after}`);
      while (!signal.aborted) {
        const next = pending.get(name)?.shift();
        if (next instanceof Error) throw next;
        if (next === undefined) await new Promise(setImmediate);
        else yield { id: next, line: `${name}${next}` };
      }
    },
    lost: (name, thrown) => `${name}: ${(thrown as Error).message}`,
    lookMs: 1,
  };
  const gone = new AbortController();
  t.after(() => gone.abort());
  const lines = followAll(replicas, gone.signal);
  const push = (name: string, ...items: readonly (number | Error)[]) => pending.set(name, [...(pending.get(name) ?? []), ...items]);
  const next = async (count: number): Promise<readonly Followed[]> => {
    const found: Followed[] = [];
    while (found.length < count) {
      const { value } = await lines.next();
      if (value !== undefined) found.push(value);
    }
    return found;
  };
  return { alive, asked, gone, lines, next, push };
}

const texts = (all: readonly Followed[]) => all.map(({ text }) => text);

test("lines of all come as they come, each replica's in their order", async (t) => {
  const { next, push } = setUp(t, ["a", "b"]);
  push("a", 1, 2);
  push("b", 1);
  assert.deepEqual(texts(await next(3)).toSorted(), ["a1", "a2", "b1"]);
  push("b", 2);
  assert.deepEqual(texts(await next(1)), ["b2"]);
});

test("a replica that begins later is followed too", async (t) => {
  const { alive, next, push } = setUp(t, ["a"]);
  push("a", 1);
  assert.deepEqual(texts(await next(1)), ["a1"]);
  alive.add("b");
  push("b", 7);
  assert.deepEqual(texts(await next(1)), ["b7"]);
});

test("one that is lost is told once, and goes on after its last line when it is back", async (t) => {
  const { asked, next, push } = setUp(t, ["a"]);
  push("a", 1, new Error("gone"), new Error("gone"), new Error("gone"), 2);
  assert.deepEqual(await next(3), [
    { kind: "line", text: "a1" },
    { kind: "told", text: "a: gone" },
    { kind: "line", text: "a2" },
  ]);
  assert.deepEqual(asked, ["a after undefined", "a after 1", "a after 1", "a after 1"]);
});

test("it ends with the signal, also while nothing comes", async (t) => {
  const { gone, lines } = setUp(t, ["a"]);
  const next = lines.next();
  gone.abort();
  assert.equal((await next).done, true);
});
