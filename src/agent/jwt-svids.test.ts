import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { AppError } from "../core/error.ts";
import { silentLogger } from "../core/logger.ts";
import { JwtSvids } from "./jwt-svids.ts";
import { systemTimers } from "./timers.ts";

test("what another domain withdrew is told of also where the keys of the own one cannot be taken", (t) => {
  const call = () => Promise.reject(new AppError("unavailable", "away"));
  const identity = "spiffe://east.example/ns/shop/sa/client";
  const svids = new JwtSvids({ identity, call, clock: new ManualClock(0), timers: systemTimers, random: () => 0, logger: silentLogger });
  t.after(() => svids.stop());
  let told = 0;
  svids.subscribe(() => {
    told += 1;
  });
  svids.adopt("", new Map([["west.example", "keys"]]));
  assert.deepEqual([told, [...svids.others.keys()]], [1, ["west.example"]]);
  assert.throws(() => svids.adopt("{}", new Map()), { code: "permission-denied" });
  assert.deepEqual([told, [...svids.others.keys()]], [2, []]);
});
