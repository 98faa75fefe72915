import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { parseSignal, sendRenewalSignal } from "./renewal-signal.ts";

describe("the signal of a renewal", () => {
  it("is named with or without SIG, and is one that a program can take", () => {
    assert.deepEqual([parseSignal("HUP"), parseSignal("SIGUSR1")], ["SIGHUP", "SIGUSR1"]);
    for (const text of ["KILL", "SIGSTOP", "hup", "1", "SIGNONE", ""]) assert.throws(() => parseSignal(text), { code: "invalid-argument" });
  });

  it("reaches the process of the file, or the command", async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "garrison-signal-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const logger = new RecordingLogger();
    const child = spawn("sleep", ["1000"]);
    const pidFile = join(folder, "pid");
    writeFileSync(pidFile, `${child.pid}\n`);
    const sent: string[] = [];
    sendRenewalSignal({ signal: "SIGHUP", pidFile }, (signal) => sent.push(signal), logger);
    const [, signal] = (await once(child, "exit")) as [number | null, string];
    assert.equal(signal, "SIGHUP");
    sendRenewalSignal({ signal: "SIGUSR1" }, (name) => sent.push(name), logger);
    assert.deepEqual([sent, logger.lines], [["SIGUSR1"], []]);
    for (const text of [`${child.pid}`, "0", "-1", "1", "x", ""]) {
      writeFileSync(pidFile, text);
      sendRenewalSignal({ signal: "SIGHUP", pidFile }, () => assert.fail("the command was told"), logger);
    }
    rmSync(pidFile);
    sendRenewalSignal({ signal: "SIGHUP", pidFile }, () => assert.fail("the command was told"), logger);
    assert.deepEqual(new Set(logger.messages), new Set(["warn: nobody could be told of the new certificate"]));
    assert.equal(logger.lines.length, 7);
  });
});
