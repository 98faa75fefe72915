import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AppError } from "../core/error.ts";
import { CallQueue, type CallQueueOptions } from "./call-queue.ts";

/** A queue by a clock that is turned by hand; calls end when they are let. */
class World {
  now = 0;
  readonly queue: CallQueue;
  /** Callers in the order in which their calls were begun. */
  readonly begun: string[] = [];
  readonly refused: { readonly caller: string; readonly error: AppError }[] = [];
  #open: (() => void)[] = [];

  constructor(options: Partial<CallQueueOptions> = {}) {
    this.queue = new CallQueue({ concurrency: 1, capacity: 10, maxWaitMs: 5_000, now: () => this.now, ...options });
  }

  call(caller: string, isGone = false): void {
    const work = () =>
      new Promise<void>((resolve) => {
        this.begun.push(caller);
        this.#open.push(resolve);
      });
    this.queue.run(caller, work, () => isGone).catch((error: unknown) => this.refused.push({ caller, error: AppError.from(error) }));
  }

  /** Ends the calls that are worked on, and lets the next begin. */
  async step(): Promise<void> {
    for (const end of this.#open.splice(0)) end();
    await new Promise((resolve) => setImmediate(resolve));
  }

  async drain(): Promise<void> {
    while (this.queue.status.running > 0) await this.step();
  }
}

describe("CallQueue", () => {
  test("works on so many at a time, and takes callers in turn however many calls one has", async () => {
    const world = new World({ capacity: 100, concurrency: 2 });
    for (let call = 0; call < 50; call++) world.call("flood");
    for (const caller of ["a", "b", "c"]) world.call(caller);
    assert.deepEqual(world.queue.status, { running: 2, waiting: 51, refused: 0 });
    await world.step();
    await world.step();
    assert.deepEqual(world.begun, ["flood", "flood", "flood", "a", "b", "c"]);
    await world.drain();
    assert.equal(world.begun.length, 53);
  });

  test("never holds more than its capacity, and sends away the newest of whoever has the most", async () => {
    const world = new World();
    for (let call = 0; call < 10_000; call++) world.call("flood");
    for (let caller = 0; caller < 5; caller++) world.call(`quiet ${caller}`);
    await world.step();
    assert.ok(world.queue.status.waiting <= 10);
    await world.drain();
    assert.deepEqual(new Set(world.refused.map(({ caller }) => caller)), new Set(["flood"]));
    for (let caller = 0; caller < 5; caller++) assert.ok(world.begun.includes(`quiet ${caller}`));
    assert.equal(world.refused.length + world.begun.length, 10_005);
    assert.deepEqual(world.queue.status, { running: 0, waiting: 0, refused: world.refused.length });
  });

  test("tells those it sends away to come back one after the other, at the speed of the work, within a minute", async () => {
    const world = new World();
    for (let call = 0; call < 400; call++) {
      while (world.queue.status.waiting < 5) world.call("warm");
      world.now += 5;
      await world.step();
    }
    await world.drain();
    for (let call = 0; call < 20_000; call++) world.call("storm");
    await world.step();
    const hints = world.refused.map(({ error }) => error.retryAfterMs ?? Number.NaN);
    assert.equal(hints.length, 20_000 - 10 - 1);
    assert.ok(world.refused.every(({ error }) => error.code === "resource-exhausted"));
    assert.equal(hints[0], 1_000);
    // 200 a second: 5 ms after one another.
    assert.ok(Math.abs((hints[1_000] ?? 0) - 6_000) < 100, String(hints[1_000]));
    assert.equal(Math.max(...hints), 60_000);
    await world.drain();
  });

  test("does no work for a client that has gone, or that has waited too long", async () => {
    const world = new World();
    world.call("first");
    world.call("gone", true);
    world.call("late");
    await world.step();
    await world.drain();
    assert.deepEqual(world.begun, ["first", "late"]);
    assert.deepEqual(
      world.refused.map(({ error }) => error.code),
      ["deadline-exceeded"],
    );
    world.call("slow");
    world.call("late");
    world.now += 5_001;
    await world.drain();
    assert.deepEqual(world.begun, ["first", "late", "slow"]);
    assert.equal(world.refused[1]?.error.code, "resource-exhausted");
  });

  test("lets everybody of a storm through in the end: 10,000 that come back when they are told, from one address", async () => {
    const world = new World({ concurrency: 8, capacity: 256 });
    const due: { readonly at: number; readonly caller: string }[] = Array.from({ length: 10_000 }, () => ({ at: 0, caller: "10.0.0.1" }));
    let seen = 0;
    let most = 0;
    let attempts = 0;
    // 8 calls every 5 ms: 1,600 a second.
    for (; world.begun.length < 10_000 && world.now < 60_000; world.now += 5) {
      const later = due.findIndex(({ at }) => at > world.now);
      const back = due.splice(0, later < 0 ? due.length : later);
      for (const { caller } of back) world.call(caller);
      attempts += back.length;
      await world.step();
      for (; seen < world.refused.length; seen++)
        due.push({ at: world.now + (world.refused[seen]?.error.retryAfterMs ?? 0), caller: "10.0.0.1" });
      due.sort((a, b) => a.at - b.at);
      most = Math.max(most, world.queue.status.waiting);
    }
    assert.equal(world.begun.length, 10_000);
    assert.ok(most <= 256);
    // The ideal is 6.3 s, and one attempt each.
    assert.ok(world.now < 20_000, `${world.now} ms`);
    assert.ok(attempts < 40_000, `${attempts} attempts`);
  });
});
