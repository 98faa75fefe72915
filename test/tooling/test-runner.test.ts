import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { makeTree, ROOT, runNode } from "./program.ts";

const RUNNER = join(ROOT, "tools", "test.ts");
const IMPORT = 'import { test } from "node:test";\n';
const PASSES = `${IMPORT}test("passes", () => {});\n`;
const FAILS = `${IMPORT}test("fails", () => { throw new Error("on purpose"); });\n`;
const SKIPS = `${IMPORT}test("skips", { skip: "no reason" }, () => {});\n`;
const ON_LINUX = { skip: process.platform === "linux" ? false : "it reads /proc" };

/** An Envoy that answers `--version` as a new one does. */
const ENVOY = '#!/bin/sh\necho "envoy  version: 0123456789abcdef/1.40.0/Clean/RELEASE/BoringSSL"\n';

/** Runs the runner over a tree; without an environment given, there is no Envoy, and nothing is required. */
async function runTests(
  t: TestContext,
  files: Readonly<Record<string, string>>,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
) {
  const root = makeTree(t, { "package.json": '{"type":"module"}', ...files });
  const none = { ENVOY_PATH: "/nonexistent/envoy", KUBEBUILDER_ASSETS: "/nonexistent", GARRISON_REQUIRE: undefined };
  const result = await runNode([RUNNER, "--root", root, ...args], { env: { ...none, ...env } });
  const lines = result.stdout.trimEnd().split("\n");
  return { ...result, root, lines, last: lines.at(-1) };
}

test("passed, failed and skipped tests of all tiers are summed up in the last line", async (t) => {
  const files = { "src/a.test.ts": PASSES, "src/b.test.ts": SKIPS, "test/feature/c.test.ts": FAILS, "test/corpus/d.test.ts": PASSES };
  const { code, lines, last } = await runTests(t, files);
  assert.equal(last, "2 passed, 1 failed, 1 skipped");
  assert.ok(lines.includes("unit: 1 passed, 0 failed, 1 skipped"));
  assert.ok(lines.includes("feature: 1 passed, 1 failed, 0 skipped"));
  assert.equal(code, 1);
});

test("the exit code is 0 when nothing failed", async (t) => {
  const { code, last } = await runTests(t, { "src/a.test.ts": PASSES, "src/b.test.ts": SKIPS });
  assert.equal(code, 0);
  assert.equal(last, "1 passed, 0 failed, 1 skipped");
});

test("a tier that cannot run is told with its reason and how to get it, its files count as skipped, and it is no failure", async (t) => {
  const { code, lines, last } = await runTests(t, {
    "src/a.test.ts": PASSES,
    "test/envoy/b.test.ts": PASSES,
    "test/kube/c.test.ts": PASSES,
  });
  assert.equal(code, 0);
  assert.equal(last, "1 passed, 0 failed, 2 skipped");
  assert.ok(lines.some((line) => /^envoy: 1 file not run: .*\/nonexistent\/envoy.*; to get it, run `npm run setup:envoy`/.test(line)));
  assert.ok(
    lines.some((line) =>
      /^kube: 1 file not run: there is no `kube-apiserver` in `\/nonexistent`; to get it, run `npm run setup:kube`/.test(line),
    ),
  );
});

test("envtest's own programs are too few for a cluster with controllers, and it is told which is missing", async (t) => {
  const assets = makeTree(t, { "kube-apiserver": "", etcd: "", kubectl: "" });
  for (const name of ["kube-apiserver", "etcd", "kubectl"]) chmodSync(join(assets, name), 0o755);
  const { code, stdout } = await runTests(t, { "test/kube/c.test.ts": FAILS }, [], { KUBEBUILDER_ASSETS: assets });
  assert.equal(code, 0);
  assert.match(stdout, /kube: 1 file not run: there is no `kube-controller-manager` in /);
});

for (const [name, args, env] of [
  ["`--require-all`", ["--require-all"], {}],
  ["`GARRISON_REQUIRE=all`", [], { GARRISON_REQUIRE: "all" }],
] as const) {
  test(`with ${name} a tier that cannot run is a failure`, async (t) => {
    const { code, lines, last } = await runTests(t, { "src/a.test.ts": PASSES, "test/envoy/b.test.ts": PASSES }, args, env);
    assert.equal(code, 1);
    assert.equal(last, "1 passed, 1 failed, 0 skipped");
    assert.ok(lines.some((line) => line.startsWith("envoy: FAILED, 1 file not run: ")));
  });
}

test("an Envoy that is found reaches its tier's tests as ENVOY_PATH, and `--require-all` reaches them too", async (t) => {
  const asserts = `${IMPORT}import assert from "node:assert";
test("told", () => assert.deepEqual([process.env.ENVOY_PATH?.endsWith("/bin/envoy"), process.env.GARRISON_REQUIRE_ENVOY, process.env.GARRISON_REQUIRE], [true, "1", "all"]));\n`;
  const bin = join(makeTree(t, { "bin/envoy": ENVOY }), "bin");
  chmodSync(join(bin, "envoy"), 0o755);
  const env = { ENVOY_PATH: "", PATH: `${bin}:${process.env.PATH}` };
  const { stdout, last } = await runTests(t, { "test/envoy/b.test.ts": asserts }, ["--require-all"], env);
  assert.equal(last, "1 passed, 0 failed, 0 skipped", stdout);
});

test("a pattern narrows the files to those whose path has it", async (t) => {
  const { stdout, last } = await runTests(t, { "src/ca/a.test.ts": PASSES, "src/xds/b.test.ts": FAILS }, ["ca/"]);
  assert.equal(last, "1 passed, 0 failed, 0 skipped");
  assert.doesNotMatch(stdout, /xds/);
});

test("a pattern that no file has is a failure, not a success without tests", async (t) => {
  const { code, lines, last } = await runTests(t, { "src/a.test.ts": PASSES }, ["nothing-like-this"]);
  assert.equal(code, 1);
  assert.equal(last, "0 passed, 1 failed, 0 skipped");
  assert.ok(lines.includes("FAILED, no test file matches `nothing-like-this`"));
});

test("a test file that no tier runs is a failure", async (t) => {
  const { code, lines } = await runTests(t, { "src/a.test.ts": PASSES, "test/misplaced/b.test.ts": PASSES });
  assert.equal(code, 1);
  assert.ok(lines.includes("FAILED, test/misplaced/b.test.ts is in no tier of tools/test/tiers.ts"));
});

test("a test file without a test is a failure, and is not counted as passed", async (t) => {
  const { code, lines, last } = await runTests(t, { "src/a.test.ts": PASSES, "src/b.test.ts": "export {};\n" });
  assert.equal(code, 1);
  assert.equal(last, "1 passed, 1 failed, 0 skipped");
  assert.ok(lines.includes("unit: FAILED, src/b.test.ts has no test"));
});

test("a test file that does not load is one failure", async (t) => {
  const { last } = await runTests(t, { "src/a.test.ts": PASSES, "src/b.test.ts": 'import "./gone.ts";\n' });
  assert.equal(last, "1 passed, 1 failed, 0 skipped");
});

const SPAWN = 'import { spawn } from "node:child_process";\nimport { writeFileSync } from "node:fs";\n';
const leaves = (options: string) => `${SPAWN}${PASSES}
const child = spawn("sleep", ["600"], { stdio: "ignore", ${options} });
child.unref();
writeFileSync(new URL("pid", import.meta.url), String(child.pid));\n`;

/** Returns once a process is gone, or a zombie that nobody collects; fails after a while. */
async function ended(pid: number): Promise<void> {
  const state = () => /\) (.)/.exec(existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, "latin1") : "")?.[1];
  for (let left = 100; left > 0 && ![undefined, "Z", "X"].includes(state()); left--) await sleep(50);
  assert.ok([undefined, "Z", "X"].includes(state()), `process ${pid} is alive`);
}

for (const [name, options] of [
  ["in a session of its own", "detached: true"],
  ["with an environment of its own", "env: { PATH: process.env.PATH }"],
] as const) {
  test(`a process that a test leaves behind ${name} is a failure, and is ended`, ON_LINUX, async (t) => {
    const { code, root, lines, last } = await runTests(t, { "src/a.test.ts": leaves(options) });
    const pid = Number(readFileSync(join(root, "src", "pid"), "utf8"));
    assert.equal(code, 1);
    assert.ok(lines.includes(`unit: FAILED, left a process behind: ${pid} \`sleep 600\``), lines.join("\n"));
    assert.equal(last, "1 passed, 1 failed, 0 skipped");
    await ended(pid);
  });
}

test("a process that ends a moment after its test is no failure", ON_LINUX, async (t) => {
  const late = `${SPAWN}${PASSES}spawn("sleep", ["0.5"], { detached: true, stdio: "ignore" }).unref();\n`;
  assert.equal((await runTests(t, { "src/a.test.ts": late })).last, "1 passed, 0 failed, 0 skipped");
});

test("a file that never ends is killed at the tier's time limit and named", async (t) => {
  const root = makeTree(t, {
    "package.json": '{"type":"module"}',
    "src/a.test.ts": PASSES,
    "src/b.test.ts": `${PASSES}setInterval(() => {}, 1000);\n`,
  });
  const run = { root, files: ["src/a.test.ts", "src/b.test.ts"], concurrency: 2, env: {}, timeout: 6000 };
  const module = `import { runTier } from ${JSON.stringify(join(ROOT, "tools", "test", "run-tier.ts"))};
console.log(JSON.stringify(await runTier(${JSON.stringify(run)})));`;
  const { stdout } = await runNode(["--input-type=module", "--eval", module]);
  const { counts, problems } = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
  assert.deepEqual(problems, ["did not end in time and was killed; not ended: src/b.test.ts"]);
  assert.equal(counts.failed, 1);
});
