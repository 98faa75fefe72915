import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { isAlive, until } from "../../test/fakes/processes.ts";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { systemClock } from "../core/clock.ts";
import { embeddedProgram } from "./proxy-program.ts";
import { ProxySupervisor } from "./proxy-supervisor.ts";
import { systemTimers } from "./timers.ts";

const FAKE_PROXY = join(import.meta.dirname, "../../test/fakes/fake-proxy.ts");

let folder: string;
let logger: RecordingLogger;
let supervisor: ProxySupervisor;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "garrison-sup-"));
  logger = new RecordingLogger();
});
afterEach(async () => {
  await supervisor.stop({ drain: false });
  rmSync(folder, { recursive: true });
});

function start(...behaviours: string[]): void {
  supervise([process.execPath, FAKE_PROXY, ...behaviours]);
}

function supervise(command: readonly string[]): void {
  const readySocket = join(folder, "ready.sock");
  const bootstrapFile = join(folder, "proxy.json");
  writeFileSync(bootstrapFile, JSON.stringify({ readySocket }));
  const program = embeddedProgram({ command, bootstrapFile, readySocket });
  supervisor = new ProxySupervisor({
    program,
    clock: systemClock,
    timers: systemTimers,
    random: Math.random,
    logger,
    drainMs: 1_000,
    terminationMs: 500,
  });
  supervisor.start();
}

function pidOf(): number {
  const { state } = supervisor;
  assert.ok("pid" in state && state.pid !== undefined, `no process while ${state.kind}`);
  return state.pid;
}

describe("a supervised proxy", () => {
  it("is ready when it says so, and its output is in the log", async () => {
    start();
    await supervisor.whenReady();
    assert.equal(supervisor.state.kind, "ready");
    assert.deepEqual((await logger.line("listening")).fields, { proxy: "embedded" });
    assert.equal((await logger.line("proxy ready")).fields.pid, pidOf());
  });

  it("that is killed is started again, with a line that says what happened", async () => {
    start();
    await supervisor.whenReady();
    const first = pidOf();
    process.kill(first, "SIGKILL");
    const { level, fields } = await logger.line("the proxy died and is restarted");
    assert.equal(level, "error");
    assert.equal(fields.exit, "signal SIGKILL");
    await logger.line("proxy ready", 2);
    assert.notEqual(pidOf(), first);
    assert.equal(supervisor.restarts, 1);
  });

  it("that dies at every start is started ever more slowly", async () => {
    start("exit=7");
    const first = await logger.line("the proxy died and is restarted", 1);
    const third = await logger.line("the proxy died and is restarted", 3);
    assert.equal(first.fields.exit, "exit code 7");
    assert.ok(Number(first.fields.restartInMs) <= 100);
    assert.ok(Number(third.fields.restartInMs) >= 200);
    assert.ok(logger.messages.includes("info: the fake proxy ends \\u001b[31mat once"));
  });

  it("that is not there at all is told of", async () => {
    supervise(["/nonexistent/proxy"]);
    const { fields } = await logger.line("the proxy died and is restarted");
    assert.match(String(fields.exit), /^not started: .*ENOENT/);
  });

  it("is not ready before it says so", async () => {
    start("never-ready");
    await logger.line("listening");
    assert.equal(supervisor.state.kind, "starting");
    const ready = supervisor.whenReady();
    await supervisor.stop({ drain: true });
    await assert.rejects(ready, { code: "unavailable" });
  });

  it("is gone when stop has resolved, and is not restarted", async () => {
    start();
    await supervisor.whenReady();
    const pid = pidOf();
    await supervisor.stop({ drain: true });
    assert.equal(isAlive(pid), false);
    assert.equal(supervisor.state.kind, "stopped");
    assert.equal(supervisor.restarts, 0);
  });

  it("is killed when it does not listen", async () => {
    start("ignore-sigterm");
    await supervisor.whenReady();
    const pid = pidOf();
    await supervisor.stop({ drain: false });
    await until("the proxy is gone", () => !isAlive(pid));
    assert.ok(logger.messages.includes("warn: the proxy did not end when asked and is killed"));
  });

  it("may be stopped while it waits to be restarted", async () => {
    start("exit=1");
    await logger.line("the proxy died and is restarted", 2);
    await supervisor.stop({ drain: true });
    assert.equal(supervisor.state.kind, "stopped");
  });
});
