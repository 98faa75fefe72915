/** The page of `docs/tasks` that wants two clusters, followed with two real API servers. */
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { delimiter, join } from "node:path";
import { after, test } from "node:test";
import { pickPort } from "../fakes/ports.ts";
import { until } from "../fakes/processes.ts";
import { Place } from "../feature/place.ts";
import { ShellSession } from "../feature/shell-session.ts";
import { outputMatches, parseTaskPage } from "../feature/task-page.ts";
import { Cluster } from "./cluster.ts";
import { startInstalled } from "./installed.ts";
import { clusterNamed } from "./two-clusters.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const STEP_MS = 120_000;

test("docs/tasks/several-clusters.md does what it says", { timeout: 300_000 }, async () => {
  const place = new Place({ after });
  const [east, west] = await Promise.all([Cluster.bare(place), Cluster.bare(place)]);
  west.server.startControllers(["serviceaccount-token-controller"]);
  const work = join(place.folder, "work");
  mkdirSync(work);
  copyFileSync(east.server.kubeconfig, join(work, "east.kubeconfig"));
  copyFileSync(west.server.kubeconfig, join(work, "west.kubeconfig"));
  symlinkSync(join(ROOT, "bin", "garrison.mjs"), join(work, "garrison"));
  const env = { ...process.env, NO_COLOR: "1", PATH: `${work}${delimiter}${process.env.PATH}` };
  const session = new ShellSession(place, { cwd: work, folder: place.folder, env });
  const port = await pickPort();
  const steps = parseTaskPage(readFileSync(join(ROOT, "docs", "tasks", "several-clusters.md"), "utf8"));
  const follow = async (index: number): Promise<void> => {
    const { commands, expected = "", line } = steps[index] ?? assert.fail(`there is no step ${index}`);
    const { exit, output } = await session.run(commands.replaceAll("https://mesh.example.org", `https://localhost:${port}`), true, STEP_MS);
    assert.equal(exit, 0, `line ${line}:\n${output}`);
    assert.ok(outputMatches(expected, output), `line ${line} prints:\n${output}`);
  };
  assert.equal(steps.length, 3);
  await follow(0);
  const serve = await startInstalled(place, east, port);
  await serve.line(/ control plane serves /);
  await follow(1);
  assert.equal((await clusterNamed(place, "west"))?.state, "connected");
  await follow(2);
  await until("the cluster is given up", async () => (await clusterNamed(place, "west")) === undefined);
});
