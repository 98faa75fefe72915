import assert from "node:assert/strict";
import { test } from "node:test";
import { steady } from "./steady.ts";

test("a steady clock goes on from where it was when the clock on the wall is set back", () => {
  let now = 1_000;
  const clock = steady({ now: () => now });
  const at = (time: number): number => {
    now = time;
    return clock.now();
  };
  assert.deepEqual([at(1_000), at(1_500), at(100), at(150), at(50), at(60)], [1_000, 1_500, 1_500, 1_550, 1_550, 1_560]);
});
