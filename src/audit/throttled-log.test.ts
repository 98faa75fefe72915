import assert from "node:assert/strict";
import { test } from "node:test";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { HandClock } from "../../test/fixture/audit-store.ts";
import { ThrottledLog } from "./throttled-log.ts";

test("a flood is one line in ten seconds, and the next line says how many were left out", () => {
  const [logger, clock] = [new RecordingLogger(), new HandClock()];
  const log = new ThrottledLog(logger, clock);
  for (let second = 0; second < 12; second++) {
    log.log("warn", "failed", { second });
    clock.time += 1000;
  }
  assert.deepEqual(
    logger.lines.map(({ fields }) => fields),
    [{ second: 0 }, { second: 10, suppressed: 9 }],
  );
});

test("a clock that is set back does not silence it until that time comes again", () => {
  const [logger, clock] = [new RecordingLogger(), new HandClock()];
  const log = new ThrottledLog(logger, clock);
  log.log("warn", "first");
  clock.time -= 3_600_000;
  log.log("warn", "second");
  clock.time += 10_000;
  log.log("warn", "third");
  assert.deepEqual(logger.messages, ["warn: first", "warn: third"]);
});
