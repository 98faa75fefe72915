/**
 * Builds `dist/` from `src/`: `tsc` without the tests, the generated protocol code as it is, and `dist/.stamp`, whose time is
 * the build's beginning, so that the launcher can tell whether anything changed since. The folder is replaced as a whole: a
 * failed build leaves the old one, and nobody meets half of one.
 *
 *     node tools/build.ts [ROOT]
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";

const here = dirname(import.meta.dirname);

/** Compiles with the project's own `tsc`; false (after its own messages) when something does not type-check. */
function compile(root: string, outDir: string): boolean {
  const tsc = join(here, "node_modules", ".bin", "tsc");
  const result = spawnSync(tsc, ["-p", "tsconfig.build.json", "--outDir", outDir], { cwd: root, stdio: "inherit" });
  if (result.error !== undefined) console.error(`build: cannot run \`${tsc}\`: ${result.error.message}\n  help: run \`npm ci\` first`);
  return result.status === 0;
}

/** Puts `fresh` in the place of `dist`, by renaming. `work` is on the same file system. */
function replace(dist: string, fresh: string, work: string): void {
  if (existsSync(dist)) renameSync(dist, join(work, "old"));
  renameSync(fresh, dist);
}

/** Returns the process's exit code. */
function build(root: string): number {
  const began = new Date();
  mkdirSync(join(root, "node_modules"), { recursive: true });
  const work = mkdtempSync(join(root, "node_modules", ".build-"));
  const fresh = join(work, "dist");
  try {
    if (!compile(root, fresh)) return 1;
    cpSync(join(root, "src", "gen"), join(fresh, "gen"), { recursive: true });
    const stamp = join(fresh, ".stamp");
    writeFileSync(stamp, `${began.toISOString()}\n`);
    utimesSync(stamp, began, began);
    replace(join(root, "dist"), fresh, work);
    return 0;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

process.exitCode = build(resolve(process.argv[2] ?? here));
