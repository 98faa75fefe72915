/** The page of `docs/tasks` that wants a cluster, followed to the letter with a real API server. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Place } from "../feature/place.ts";
import { ShellSession } from "../feature/shell-session.ts";
import { outputMatches, parseTaskPage } from "../feature/task-page.ts";
import { ApiServer } from "./api-server.ts";

const ROOT = join(import.meta.dirname, "..", "..");

test("docs/tasks/kubernetes-install.md does what it says", { timeout: 180_000 }, async () => {
  const place = new Place({ after });
  const { kubeconfig } = await ApiServer.start(place);
  const checkout = join(place.folder, "checkout");
  mkdirSync(checkout);
  for (const part of ["bin", "node_modules"]) symlinkSync(join(ROOT, part), join(checkout, part));
  const env = { ...process.env, NO_COLOR: "1", KUBECONFIG: kubeconfig };
  const session = new ShellSession(place, { cwd: checkout, folder: place.folder, env });
  const steps = parseTaskPage(readFileSync(join(ROOT, "docs", "tasks", "kubernetes-install.md"), "utf8"));
  assert.ok(steps.filter(({ expected }) => expected !== undefined).length >= 3);
  for (const { commands, expected, line } of steps) {
    const { exit, output } = await session.run(commands, true);
    assert.equal(exit, 0, `line ${line}:\n${output}`);
    assert.ok(expected === undefined || outputMatches(expected, output), `line ${line} prints:\n${output}`);
  }
});
