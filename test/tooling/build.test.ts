import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeTree, ROOT, runNode } from "./program.ts";

const MAIN = `import { greeting } from "../gen/words_pb.js";\nconst { lower } = await import("../core/lower.ts");\nconsole.log(lower(greeting));\n`;

/** A package with this project's compiler settings, launcher and build around a few modules. */
function makePackage(t: TestContext): string {
  const root = makeTree(t, {
    "package.json": '{"type":"module"}',
    "src/cli/main.ts": MAIN,
    "src/core/lower.ts": "export function lower(text: string): string {\n  return text.toLowerCase();\n}\n",
    "src/core/lower.test.ts": "export const wrong: number = 'tests are not built';\n",
    "src/gen/words_pb.js": 'export const greeting = "HELLO";\n',
    "src/gen/words_pb.d.ts": "export declare const greeting: string;\n",
  });
  for (const name of ["tsconfig.base.json", "tsconfig.build.json", "bin"]) cpSync(join(ROOT, name), join(root, name), { recursive: true });
  mkdirSync(join(root, "node_modules"));
  symlinkSync(join(ROOT, "node_modules", "@types"), join(root, "node_modules", "@types"));
  return root;
}

const build = (root: string) => runNode([join(ROOT, "tools", "build.ts"), root]);
const garrison = (root: string) => runNode([join(root, "bin", "garrison.mjs"), "x"]);

test("a build runs, has declarations and the generated code, and no tests", async (t) => {
  const root = makePackage(t);
  const { code, stdout } = await build(root);
  assert.equal(code, 0, stdout);
  const files = readdirSync(join(root, "dist"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.deepEqual(files.map(({ name }) => name).sort(), [
    ".stamp",
    "lower.d.ts",
    "lower.js",
    "main.d.ts",
    "main.js",
    "words_pb.d.ts",
    "words_pb.js",
  ]);
  const { stdout: said } = await runNode([join(root, "dist", "cli", "main.js")]);
  assert.equal(said, "hello\n");
});

test("the launcher takes a fresh build, and leaves it once a source is edited", async (t) => {
  const root = makePackage(t);
  const hourAgo = new Date(Date.now() - 3_600_000);
  for (const entry of readdirSync(join(root, "src"), { recursive: true })) utimesSync(join(root, "src", String(entry)), hourAgo, hourAgo);
  utimesSync(join(root, "src"), hourAgo, hourAgo);
  await build(root);
  writeFileSync(join(root, "dist", "cli", "main.js"), 'console.log("built");\n');
  assert.equal((await garrison(root)).stdout, "built\n");
  writeFileSync(join(root, "src", "core", "lower.ts"), "export const lower = (text: string) => text;\n");
  assert.equal((await garrison(root)).stdout, "HELLO\n");
});

test("the stamp's time is the build's beginning, so that an edit during the build counts", async (t) => {
  const root = makePackage(t);
  const before = Date.now();
  await build(root);
  const stamp = statSync(join(root, "dist", ".stamp")).mtimeMs;
  assert.ok(stamp >= before);
  assert.ok(stamp <= statSync(join(root, "dist", "cli", "main.js")).mtimeMs);
});

test("sources that do not type-check fail the build with the compiler's message, and the old build stays", async (t) => {
  const root = makePackage(t);
  await build(root);
  const old = readFileSync(join(root, "dist", ".stamp"), "utf8");
  writeFileSync(join(root, "src", "core", "lower.ts"), "export const lower: number = 'x';\n");
  const { code, stdout } = await build(root);
  assert.equal(code, 1);
  assert.match(stdout, /src\/core\/lower\.ts.*TS2322/s);
  assert.equal(readFileSync(join(root, "dist", ".stamp"), "utf8"), old);
  assert.deepEqual(readdirSync(join(root, "node_modules")), ["@types"]);
});

test("files of an earlier build are gone from the next", async (t) => {
  const root = makePackage(t);
  await build(root);
  writeFileSync(join(root, "dist", "left-over.js"), "");
  assert.equal((await build(root)).code, 0);
  assert.equal(existsSync(join(root, "dist", "left-over.js")), false);
});
