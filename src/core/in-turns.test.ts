import assert from "node:assert/strict";
import { test } from "node:test";
import { inTurns } from "./in-turns.ts";

test("groups come one after the other, each in its own order, and nothing is lost", () => {
  const turns = inTurns(["a1", "a2", "a3", "b1", "c1", "c2"], (item) => item.slice(0, 1));
  assert.deepEqual(turns, ["a1", "b1", "c1", "a2", "c2", "a3"]);
  assert.deepEqual(
    inTurns([], () => ""),
    [],
  );
});
