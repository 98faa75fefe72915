import assert from "node:assert/strict";
import { test } from "node:test";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { AppError } from "../core/error.ts";
import { silentLogger } from "../core/logger.ts";
import { generateKey } from "../x509/csr-builder.ts";
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

test("tokens of keys that nobody knows have the control plane asked once in a while, also while it is away", async (t) => {
  let asked = 0;
  const call = (): Promise<never> => {
    asked += 1;
    return Promise.reject(new AppError("unavailable", "away"));
  };
  const clock = new ManualClock(0);
  const identity = "spiffe://east.example/ns/shop/sa/client";
  const svids = new JwtSvids({ identity, call, clock, timers: systemTimers, random: () => 0, logger: silentLogger });
  t.after(() => svids.stop());
  const { kty, crv, x, y } = generateKey().export({ format: "jwk" });
  svids.adopt(JSON.stringify({ keys: [{ kty, crv, x, y, kid: "known", use: "jwt-svid" }] }));
  await clock.advance(10_000);
  for (let token = 0; token < 5; token++) await svids.bundleWith("unknown");
  assert.equal(asked, 1);
  await clock.advance(10_000);
  await svids.bundleWith("unknown");
  assert.equal(asked, 2);
});
