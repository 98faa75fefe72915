import assert from "node:assert/strict";
import { test } from "node:test";
import { isServersTrouble, Pauses } from "./pauses.ts";

test("what was refused waits, longer each time, and no more when it is another version or was taken", () => {
  let now = 0;
  const pauses = new Pauses(() => now);
  const waits = (): number => {
    const from = now;
    while (pauses.isPaused("shop", "1")) now += 500;
    return now - from;
  };
  pauses.refuse("shop", "1");
  assert.deepEqual([pauses.isPaused("shop", "2"), pauses.isPaused("bank", "1"), pauses.size], [false, false, 1]);
  const first = waits();
  for (let time = 0; time < 8; time++) pauses.refuse("shop", "1");
  assert.ok(first > 0 && waits() > first);
  pauses.refuse("shop", "1");
  pauses.forget("shop");
  assert.deepEqual([pauses.isPaused("shop", "1"), pauses.size], [false, 0]);
});

test("a server that has too much to do, or knows nobody, refuses all alike", () => {
  assert.deepEqual(
    [401, 403, 413, 422, 429, 500, 503].filter((status) => isServersTrouble({ status })),
    [401, 429, 500, 503],
  );
});
