import assert from "node:assert/strict";
import { test } from "node:test";
import { RateLimit } from "./rate-limit.ts";

test("a caller has so many calls at once, and so many a second from then on, whatever others do", () => {
  let now = 1_000;
  const limit = new RateLimit({ perSecond: 2, atOnce: 3, clock: { now: () => now } });
  const taken = (caller: string, calls: number): number =>
    Array.from({ length: calls }, () => {
      try {
        limit.take(caller);
        return 1;
      } catch {
        return 0;
      }
    }).reduce<number>((sum, each) => sum + each, 0);
  assert.deepEqual([taken("a", 9), taken("b", 9)], [3, 3]);
  now += 1_000;
  assert.deepEqual([taken("a", 9), taken("a", 9)], [2, 0]);
  now += 60_000;
  assert.equal(taken("a", 9), 3);
});

test("a clock that is set back keeps nobody out", () => {
  let now = 3_600_000;
  const limit = new RateLimit({ perSecond: 1, atOnce: 1, clock: { now: () => now } });
  limit.take("a");
  assert.throws(() => limit.take("a"), { code: "resource-exhausted" });
  now = 0;
  assert.throws(() => limit.take("a"), { code: "resource-exhausted" });
  now = 1_000;
  limit.take("a");
});
