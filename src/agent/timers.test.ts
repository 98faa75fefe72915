import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { Backoff } from "../core/backoff.ts";
import { runAfter, runAt, systemTimers, wait } from "./timers.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

describe("a time to run at", () => {
  it("is met once, however far away, and never early", async () => {
    const clock = new ManualClock(0);
    let runs = 0;
    runAt(clock, clock, 40 * DAY_MS, () => {
      runs += 1;
    });
    await clock.advance(40 * DAY_MS - 1);
    assert.equal(runs, 0);
    await clock.advance(DAY_MS);
    assert.equal(runs, 1);
  });

  it("that has passed is now, but not before the caller has gone on", async () => {
    const clock = new ManualClock(1_000);
    let ran = false;
    runAt(clock, clock, 0, () => {
      ran = true;
    });
    assert.equal(ran, false);
    await clock.advance(0);
    assert.equal(ran, true);
  });

  it("can be taken back at any time before", async () => {
    const clock = new ManualClock(0);
    const cancel = runAt(clock, clock, DAY_MS, () => assert.fail("it ran"));
    await clock.advance(DAY_MS / 2);
    cancel();
    await clock.advance(DAY_MS);
    assert.equal(clock.waiting, 0);
  });
});

describe("a time to run after", () => {
  it("has passed by the timers, though the clock was set back, or by the clock of a machine that slept", async () => {
    const timers = new ManualClock(0);
    let ahead = 0;
    const clock = { now: () => timers.now() + ahead };
    const runs: string[] = [];
    runAfter(clock, timers, 10 * MINUTE_MS, () => runs.push("set back"));
    ahead = -DAY_MS;
    await timers.advance(10 * MINUTE_MS - 1);
    assert.equal(runs.length, 0);
    await timers.advance(1);
    assert.equal(runs.join(), "set back");
    runAfter(clock, timers, DAY_MS, () => runs.push("slept"));
    runAfter(clock, timers, DAY_MS, () => runs.push("never"))();
    ahead = 0;
    await timers.advance(MINUTE_MS - 1);
    assert.equal(runs.length, 1);
    await timers.advance(1);
    assert.equal(runs.join(), "set back,slept");
    assert.equal(timers.waiting, 0);
  });
});

describe("a wait", () => {
  it("ends with its time, or when it is cut short", async () => {
    const clock = new ManualClock(0);
    const controller = new AbortController();
    const timed = wait(clock, 10, controller.signal);
    await clock.advance(10);
    await timed;
    const cut = wait(clock, DAY_MS, controller.signal);
    controller.abort();
    await cut;
    await wait(clock, DAY_MS, controller.signal);
    assert.equal(clock.waiting, 0);
  });

  it("by the system's timers ends as well", async () => {
    const keepAlive = setInterval(() => undefined, 1_000);
    await wait(systemTimers, 1, new AbortController().signal);
    clearInterval(keepAlive);
  });
});

describe("a backoff", () => {
  it("doubles to its maximum, is shortened by chance by up to a half, and begins anew", () => {
    let random = 0;
    const backoff = new Backoff({ firstMs: 100, maxMs: 1_000, random: () => random });
    assert.deepEqual(
      [backoff.next(), backoff.next(), backoff.next(), backoff.next(), backoff.next(), backoff.next()],
      [100, 200, 400, 800, 1_000, 1_000],
    );
    random = 1;
    assert.equal(backoff.next(), 500);
    backoff.reset();
    assert.equal(backoff.next(), 50);
  });

  it("has no end however often it is asked", () => {
    const backoff = new Backoff({ firstMs: 100, maxMs: 1_000, random: () => 0 });
    for (let count = 0; count < 5_000; count++) backoff.next();
    assert.equal(backoff.next(), 1_000);
  });
});
