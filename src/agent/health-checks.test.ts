import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { HealthChecks } from "./health-checks.ts";
import type { HealthCheck, ReportedHealth } from "./registration-messages.ts";

const CHECK: HealthCheck = {
  ask: { kind: "exec", command: ["x"], timeoutSeconds: 1 },
  initialDelaySeconds: 5,
  periodSeconds: 10,
  successThreshold: 2,
  failureThreshold: 3,
};

/** Answers in their order, and then nothing but successes; what was told at which second. */
async function run(answers: readonly boolean[], seconds: number): Promise<readonly string[]> {
  const clock = new ManualClock(0);
  const told: string[] = [];
  const queue = [...answers];
  const checks = new HealthChecks({
    ask: async () => (queue.shift() === false ? { status: 503, detail: "no" } : { status: 200, detail: "ok" }),
    timers: clock,
    onChange: ({ healthy, detail }: ReportedHealth) => told.push(`${clock.now() / 1000} ${healthy ? "healthy" : `unhealthy: ${detail}`}`),
  });
  checks.use(CHECK);
  await clock.advance(seconds * 1000);
  checks.stop();
  return told;
}

describe("asking whether the application is well", () => {
  it("waits for its delay, and tells after enough successes in a row", async () => {
    assert.deepEqual(await run([], 60), ["15 healthy"]);
  });

  it("tells nothing for failures that are too few, and counts them anew after a success", async () => {
    assert.deepEqual(await run([true, true, false, false, true, false, false, true], 100), ["15 healthy"]);
  });

  it("tells why after enough failures in a row, and once", async () => {
    assert.deepEqual(await run([true, true, false, false, false, false, false], 100), ["15 healthy", "45 unhealthy: no", "85 healthy"]);
  });

  it("keeps what it knows while its check is the same, and forgets it with another", async () => {
    const clock = new ManualClock(0);
    const checks = new HealthChecks({ ask: async () => ({ status: 200, detail: "ok" }), timers: clock, onChange: () => undefined });
    checks.use(CHECK);
    await clock.advance(20_000);
    assert.equal(checks.health?.healthy, true);
    checks.use({ ...CHECK });
    assert.equal(checks.health?.healthy, true);
    checks.use({ ...CHECK, periodSeconds: 11 });
    assert.equal(checks.health, undefined);
    checks.use(undefined);
    await clock.advance(60_000);
    assert.equal(checks.health, undefined);
  });
});
