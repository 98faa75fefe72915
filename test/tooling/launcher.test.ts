import assert from "node:assert/strict";
import { cpSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeTree, ROOT, runNode } from "./program.ts";

const MAIN = (name: string) =>
  `console.log(JSON.stringify({ ran: "${name}", argv: process.argv.slice(2), options: process.execArgv, pid: process.pid }));`;

const SOURCE = "src/cli/main.ts";
const BUILD = "dist/cli/main.js";
const STAMP = "dist/.stamp";

/** A package of this launcher around other programs; every file is an hour old, the stamp half an hour. */
function makePackage(t: TestContext, files: Readonly<Record<string, string>>): string {
  const root = makeTree(t, { "package.json": '{"type":"module"}', ...files });
  cpSync(join(ROOT, "bin"), join(root, "bin"), { recursive: true });
  const hourAgo = new Date(Date.now() - 3_600_000);
  for (const path of ["src/cli", "src", ...Object.keys(files)]) setTime(root, path, hourAgo);
  setTime(root, STAMP, new Date(Date.now() - 1_800_000));
  return root;
}

function setTime(root: string, path: string, time: Date): void {
  try {
    utimesSync(join(root, path), time, time);
  } catch {
    // this package does not have it
  }
}

async function launch(root: string, args: readonly string[], nodeOptions: readonly string[] = []) {
  const result = await runNode([...nodeOptions, join(root, "bin", "garrison.mjs"), ...args]);
  return { ...result, said: result.stdout === "" ? undefined : JSON.parse(result.stdout) };
}

const WHOLE = { [SOURCE]: MAIN("source"), [BUILD]: MAIN("build"), [STAMP]: "" };

test("the build runs when it is newer than every source", async (t) => {
  const { said, stderr } = await launch(makePackage(t, WHOLE), ["status", "--json"]);
  assert.deepEqual([said.ran, said.argv, said.options], ["build", ["status", "--json"], []]);
  assert.equal(stderr, "");
});

test("the sources run when one of them changed after the build began", async (t) => {
  const root = makePackage(t, { ...WHOLE, "src/core/error.ts": "" });
  setTime(root, "src/core/error.ts", new Date());
  assert.equal((await launch(root, ["status"])).said.ran, "source");
});

test("the sources run when one was deleted after the build, which shows only in its folder's time", async (t) => {
  const root = makePackage(t, WHOLE);
  setTime(root, "src/cli", new Date());
  assert.equal((await launch(root, ["status"])).said.ran, "source");
});

test("an edited test does not make the build stale", async (t) => {
  const root = makePackage(t, { ...WHOLE, "src/cli/main.test.ts": "" });
  setTime(root, "src/cli/main.test.ts", new Date());
  assert.equal((await launch(root, ["status"])).said.ran, "build");
});

test("the sources run when there is no build, and when a build has no stamp", async (t) => {
  assert.equal((await launch(makePackage(t, { [SOURCE]: MAIN("source") }), [])).said.ran, "source");
  assert.equal((await launch(makePackage(t, { [SOURCE]: MAIN("source"), [BUILD]: MAIN("build") }), [])).said.ran, "source");
});

test("the build runs where there are no sources, as in the published package", async (t) => {
  const root = makePackage(t, { [BUILD]: MAIN("build"), [STAMP]: "" });
  assert.equal((await launch(root, [])).said.ran, "build");
});

test("a package with neither build nor sources says so and fails", async (t) => {
  const { code, stderr } = await launch(makePackage(t, {}), ["status"]);
  assert.equal(code, 1);
  assert.match(stderr, /neither `dist\/` nor `src\/` .*\n {2}help: .*npm run build/);
});

const SMALL = ["--max-semi-space-size=1", "--gc-global", "--v8-pool-size=1"];

for (const [command, options] of [
  ["run", ["--lite-mode", ...SMALL]],
  ["serve", ["--max-semi-space-size=4"]],
] as const) {
  test(`\`${command}\` gets the small-memory options, its arguments as they are, and the options of Node that were given`, async (t) => {
    const { said, stderr } = await launch(makePackage(t, WHOLE), [command, "--", "echo", "a b", "--x"], ["--no-warnings"]);
    assert.deepEqual(said.argv, [command, "--", "echo", "a b", "--x"]);
    assert.deepEqual(said.options, ["--no-warnings", ...options]);
    assert.equal(stderr, "");
  });
}

test("sources run without lite mode, in which Node cannot strip types", async (t) => {
  const { said, stderr } = await launch(makePackage(t, { [SOURCE]: `${MAIN("source")} const typed: number = 1; void typed;` }), ["run"]);
  assert.deepEqual([said.ran, said.options], ["source", SMALL]);
  assert.equal(stderr, "");
});

test("`run` takes the place of the launcher: it is the process that was started", { skip: process.platform === "win32" }, async (t) => {
  const root = makePackage(t, { ...WHOLE, "print-pid.mjs": "console.error(process.pid);" });
  const { said, stderr } = await launch(root, ["run"], ["--import", join(root, "print-pid.mjs")]);
  const [launcher, ...later] = stderr.trim().split("\n");
  assert.equal(Number(launcher), said.pid);
  assert.deepEqual(later.map(Number), [said.pid]);
});

test("`run` finds its standard input untouched", async (t) => {
  const root = makePackage(t, { [BUILD]: "process.stdin.pipe(process.stdout);", [STAMP]: "" });
  const { stdout } = await runNode([join(root, "bin", "garrison.mjs"), "run"], { input: "first line\nsecond line\n" });
  assert.equal(stdout, "first line\nsecond line\n");
});

/** A module that, imported first, makes `process.execve` missing. */
const NO_EXECVE = "data:text/javascript,Object.defineProperty(process,'execve',{value:undefined})";

test("where a process cannot be replaced, a child runs in its stead and its exit code is passed on", async (t) => {
  const root = makePackage(t, { [SOURCE]: `${MAIN("source")} process.exitCode = 7;` });
  const { said, code } = await launch(root, ["run", "x"], ["--import", NO_EXECVE]);
  assert.deepEqual([said.ran, said.argv, code], ["source", ["run", "x"], 7]);
});

test("where a process cannot be replaced, the signal that ended the child shows in the exit code", async (t) => {
  const root = makePackage(t, { [SOURCE]: "process.kill(process.pid, 'SIGKILL'); setInterval(() => {}, 1000);" });
  assert.equal((await launch(root, ["run"], ["--import", NO_EXECVE])).code, 137);
});

test("on an older Node the launcher says what is needed and how to get it, and fails", async (t) => {
  const root = makePackage(t, WHOLE);
  const old = "data:text/javascript,Object.defineProperty(process.versions,'node',{value:'20.20.2'})";
  const { code, stdout, stderr } = await launch(root, ["status"], ["--import", old]);
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(stderr, /^garrison: Node\.js 26 or newer is needed, and this is Node\.js 20\.20\.2 \(/);
  assert.match(stderr, /help: in a checkout, `npm ci` brings Node\.js 26 along: run `npx garrison \.\.\.` there/);
});
