import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { until } from "../../../test/fakes/processes.ts";
import { RecordingLogger } from "../../../test/fakes/recording-logger.ts";
import { Coalesced } from "./coalesced.ts";

function setUp(t: TestContext, work: () => Promise<void>, settleMs = 0) {
  const logger = new RecordingLogger();
  const coalesced = new Coalesced({ what: "work", work, logger, intervalMs: 1, settleMs, retryMs: { first: 1, last: 2 } });
  t.after(() => coalesced.close());
  return { logger, coalesced };
}

test("what is asked for while it runs is done once, afterwards", async (t) => {
  let runs = 0;
  const gate = Promise.withResolvers<void>();
  const { coalesced } = setUp(t, async () => {
    runs += 1;
    await gate.promise;
  });
  coalesced.ask();
  await until("it runs", () => runs === 1);
  for (let count = 0; count < 5; count += 1) coalesced.ask();
  gate.resolve();
  await until("it runs again", () => runs === 2);
  await coalesced.close();
  assert.equal(runs, 2);
});

test("a failure is told once, and tried again until it is none", async (t) => {
  let runs = 0;
  const { coalesced, logger } = setUp(t, async () => {
    runs += 1;
    if (runs < 4) throw new Error("no");
  });
  coalesced.ask();
  await until("it works", () => logger.messages.includes("info: work again"));
  assert.equal(runs, 4);
  assert.deepEqual(
    logger.messages.filter((message) => message.startsWith("warn")),
    ["warn: work failed, and is tried again"],
  );
});

test("nothing begins once it is closed, not even what waits to settle", async (t) => {
  let runs = 0;
  const work = async (): Promise<void> => {
    runs += 1;
  };
  const { coalesced } = setUp(t, work, 60_000);
  coalesced.ask();
  await coalesced.close();
  coalesced.ask();
  assert.equal(runs, 0);
});
