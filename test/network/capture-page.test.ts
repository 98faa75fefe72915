/** The page of `docs/tasks` that wants machines of its own, followed to the letter in network namespaces. */
import assert from "node:assert/strict";
import { chmodSync, globSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { until } from "../fakes/processes.ts";
import { Place } from "../feature/place.ts";
import { ShellSession } from "../feature/shell-session.ts";
import { outputMatches, parseTaskPage, type Step } from "../feature/task-page.ts";

/** Agents, proxies and their first certificates, on a machine that may be busy. */
const EVENTUALLY_MS = 60_000;
const ROOT = join(import.meta.dirname, "..", "..");

test("docs/tasks/capture-on-a-host.md does what it says", { timeout: 240_000 }, async () => {
  const place = new Place({ after });
  // Agents run as a user of their own.
  chmodSync(place.folder, 0o755);
  const checkout = join(place.folder, "checkout");
  mkdirSync(checkout);
  for (const part of ["bin", "node_modules"]) symlinkSync(join(ROOT, part), join(checkout, part));
  const session = new ShellSession(place, { cwd: checkout, folder: place.folder, env: { ...process.env, NO_COLOR: "1" } });
  const logs = () => globSync(join(place.folder, "tmp.*/*.log")).map((log) => `--- ${log}\n${readFileSync(log, "utf8").slice(-2_000)}`);
  // Whatever becomes of the page, no namespace stays.
  place.after(() => session.run("for each in $(ip netns list | cut -d' ' -f1 | grep \"^$net-\"); do ip netns del $each; done", false));

  const follow = async ({ commands, expected, eventually, line }: Step): Promise<void> => {
    let printed = "";
    const done = async (): Promise<boolean> => {
      const { exit, output } = await session.run(commands, !eventually);
      printed = output;
      return exit === 0 && (expected === undefined || outputMatches(expected, output));
    };
    if (eventually)
      await until(`line ${line} prints what it says`, done, EVENTUALLY_MS).catch((error) =>
        assert.fail(`${error}\n${printed}\n${logs().join("\n")}`),
      );
    else assert.ok(await done(), `line ${line} prints:\n${printed}\n${logs().join("\n")}`);
  };
  const steps = parseTaskPage(readFileSync(join(ROOT, "docs", "tasks", "capture-on-a-host.md"), "utf8"));
  assert.ok(steps.filter(({ expected }) => expected !== undefined).length >= 6);
  for (const step of steps) await follow(step);
  await until("the page has ended all its processes", () => session.leftovers().length === 0);
});
