import assert from "node:assert/strict";
import { test } from "node:test";
import { type Sender, Turns } from "./turns.ts";

const LIMITS = { turnBytes: 100, flightBytes: 300, turnMs: 10, stalledMs: 50 };

/** Streams by name, what they were told in order, and a clock that is set. */
function setUp() {
  let now = 0;
  const turns = new Turns(LIMITS, () => now);
  const told: string[] = [];
  const stream = (name: string, bytes: number): Sender => {
    const sender: Sender = {
      send: () => {
        told.push(name);
        turns.sent(sender, bytes);
      },
      stalled: () => {
        told.push(`${name} stalled`);
        turns.ended(sender, false);
      },
      abandoned: () => void told.push(`${name} abandoned`),
    };
    return sender;
  };
  const at = (ms: number): void => {
    now = ms;
    turns.tick();
  };
  return { turns, told, stream, at };
}

test("who is new waits for memory in the order of asking, and is sent what is due when others have left", () => {
  const { turns, told, stream } = setUp();
  const streams = ["a", "b", "c", "d"].map((name) => stream(name, 60));
  for (const one of streams) turns.ask(one, true);
  assert.deepEqual([told, turns.bytes, turns.waiting], [["a", "b"], 120, 2]);
  for (const one of streams.slice(0, 2)) turns.done(one);
  assert.deepEqual([told, turns.bytes], [["a", "b", "c", "d"], 120]);
});

test("a change for who is known does not wait for those who are new", () => {
  const { turns, told, stream } = setUp();
  for (const name of ["a", "b", "c"]) turns.ask(stream(name, 100), true);
  turns.ask(stream("known", 1), false);
  assert.deepEqual(told, ["a", "known"]);
});

test("who is new has his part, however many changes there are for others", () => {
  const { turns, told, stream } = setUp();
  const busy = stream("a", 200);
  turns.ask(busy, true);
  for (const name of ["k1", "k2", "k3", "k4", "k5"]) turns.ask(stream(name, 1), false);
  turns.ask(stream("new", 1), true);
  turns.done(busy);
  assert.ok(told.indexOf("new") < told.indexOf("k5"), told.join(" "));
});

test("who reads slowly delays nobody", () => {
  const { turns, told, stream, at } = setUp();
  turns.ask(stream("slow", 150), true);
  turns.ask(stream("a", 10), true);
  assert.deepEqual(told, ["slow"]);
  at(10);
  assert.deepEqual([told, turns.bytes], [["slow", "a"], 160]);
  at(1_000);
  assert.deepEqual(told, ["slow", "a"]);
});

test("those who read nothing hold no more memory than the bound, and are ended where others wait for it", () => {
  const { turns, told, stream, at } = setUp();
  for (const [index, name] of ["x", "y", "z"].entries()) {
    turns.ask(stream(name, 100), true);
    at(10 * (index + 1));
  }
  assert.deepEqual([told, turns.bytes], [["x", "y", "z"], 300]);
  turns.ask(stream("a", 10), true);
  turns.ask(stream("b", 10), false);
  assert.equal(turns.bytes, 300);
  at(49);
  assert.deepEqual(told, ["x", "y", "z"]);
  at(50);
  assert.deepEqual([told.slice(3), turns.bytes], [["x stalled", "x abandoned", "b", "a"], 220]);
});

test("what is under way to a stream that was ended counts until it has left, or the connection is ended", () => {
  const { turns, told, stream, at } = setUp();
  const [leaves, stays] = [stream("leaves", 10), stream("stays", 20)];
  for (const one of [leaves, stays]) turns.ask(one, true);
  for (const one of [leaves, stays]) turns.ended(one, false);
  assert.equal(turns.bytes, 30);
  turns.done(leaves);
  at(10);
  assert.deepEqual([told.slice(2), turns.bytes], [["stays abandoned"], 0]);
});

test("of who disconnects nothing waits and nothing counts", () => {
  const { turns, told, stream } = setUp();
  const [gone, waits] = [stream("gone", 200), stream("waits", 10)];
  turns.ask(gone, true);
  turns.ask(waits, true);
  turns.ended(waits, true);
  turns.ended(gone, true);
  assert.deepEqual([told, turns.bytes, turns.waiting], [["gone"], 0, 0]);
});
