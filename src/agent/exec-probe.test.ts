import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { isAlive, until } from "../../test/fakes/processes.ts";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { probeByProgram } from "./exec-probe.ts";

describe("a probe by a program", () => {
  it("is a success by status 0, and nothing else", async () => {
    assert.equal((await probeByProgram(["true"], 5)).status, 200);
    assert.deepEqual(await probeByProgram(["sh", "-c", "exit 3"], 5), { status: 503, detail: "the probe's program ended with 3" });
    assert.deepEqual(await probeByProgram(["sh", "-c", "kill -9 $$"], 5), {
      status: 503,
      detail: "the probe's program ended with SIGKILL",
    });
  });

  it("hands its arguments on as they are, through no shell", async () => {
    assert.equal((await probeByProgram(["test", "$(true); *", "=", "$(true); *"], 5)).status, 200);
  });

  it("is a failure where the program is not there", async () => {
    assert.deepEqual(await probeByProgram(["/nowhere/at/all"], 5), { status: 503, detail: "the probe's program cannot be run: ENOENT" });
  });

  it("is ended with all that it started when it takes too long", async (t) => {
    const file = join(tempFolder(t), "pid");
    const result = await probeByProgram(["sh", "-c", `sleep 1000 & echo $! > ${file}; wait`], 1);
    assert.deepEqual(result, { status: 504, detail: "the probe's program did not end within 1 s" });
    const pid = Number(readFileSync(file, "utf8"));
    await until("what it started has ended", () => !isAlive(pid));
  });
});
