/** A clock for how long something takes: a wall clock may be set back, and who counts by it then waits for that time once more. */
import type { Clock } from "./clock.ts";

/** Goes on from where it was whenever `clock` is set back. What it shows is then no time of day. */
export function steady(clock: Clock): Clock {
  let last = clock.now();
  let behind = 0;
  return {
    now: () => {
      const now = clock.now();
      if (now < last) behind += last - now;
      last = now;
      return now + behind;
    },
  };
}
