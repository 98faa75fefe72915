/** Waiting as a parameter: the event loop in production, turned by hand in tests. */
import type { Clock } from "../core/clock.ts";

export interface Timers {
  /** Runs `action` once after `milliseconds`; the returned function takes that back and may be called at any time. */
  after(milliseconds: number, action: () => void): () => void;
}

/** The event loop's timers. They do not keep a process alive: what it serves does. */
export const systemTimers: Timers = {
  after(milliseconds, action) {
    const timer = setTimeout(action, milliseconds).unref();
    return () => clearTimeout(timer);
  },
};

/**
 * No single wait is longer. A timer counts the time that the machine is awake and is bounded at 24.8 days, while
 * certificates expire by the wall clock, months away, also on a laptop that slept.
 */
const LONGEST_WAIT_MS = 60_000;

/** Runs `action` once when the clock reaches `time` (ms since the epoch), never before this call has returned. Returns what takes it back. */
export function runAt(clock: Clock, timers: Timers, time: number, action: () => void): () => void {
  let cancel = () => {};
  const wait = () => {
    const left = time - clock.now();
    cancel = timers.after(Math.max(0, Math.min(left, LONGEST_WAIT_MS)), () => (clock.now() >= time ? action() : wait()));
  };
  wait();
  return () => cancel();
}

/**
 * Runs `action` once after `milliseconds` by the clock or by the timers, whichever is first: a machine that slept has waited, and one whose clock was
 * set back need not wait for that time once more. Returns what takes it back.
 */
export function runAfter(clock: Clock, timers: Timers, milliseconds: number, action: () => void): () => void {
  const due = clock.now() + milliseconds;
  let left = milliseconds;
  let cancel = () => {};
  const wait = () => {
    const slice = Math.min(left, Math.max(0, due - clock.now()), LONGEST_WAIT_MS);
    left -= slice;
    cancel = timers.after(slice, () => (left <= 0 || clock.now() >= due ? action() : wait()));
  };
  wait();
  return () => cancel();
}

/** A wait that can be cut short: resolves after `milliseconds`, or when `signal` is aborted. */
export function wait(timers: Timers, milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = () => {
      cancel();
      signal.removeEventListener("abort", finish);
      resolve();
    };
    const cancel = timers.after(milliseconds, finish);
    signal.addEventListener("abort", finish);
  });
}
