// Chooses what to run (the build or the sources) and with which V8 options.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/**
 * What each long-lived command gives up for a small resident set. The agent stays beside a workload and does little, so it
 * does without compilers, with a young generation of 1 MiB; the control plane keeps its compilers, with one of 4 MiB.
 * @type {ReadonlyMap<string, readonly string[]>}
 */
const V8_OPTIONS = new Map([
  ["agent", ["--lite-mode", "--max-semi-space-size=1", "--gc-global", "--v8-pool-size=1"]],
  ["run", ["--lite-mode", "--max-semi-space-size=1", "--gc-global", "--v8-pool-size=1"]],
  ["serve", ["--max-semi-space-size=4"]],
]);

/**
 * The V8 options of a command. Lite mode has no WebAssembly, with which Node strips types, so sources do without it.
 * @param {string} command
 * @param {string} entry
 * @returns {readonly string[]}
 */
function v8Options(command, entry) {
  const options = V8_OPTIONS.get(command) ?? [];
  return entry.endsWith(".ts") ? options.filter((option) => option !== "--lite-mode") : options;
}

/**
 * Whether a file or folder under `folder` changed at or after `time` (milliseconds since the epoch). Folders count, since a
 * deletion changes only them. Tests do not: they are not part of the build.
 * @param {string} folder
 * @param {number} time
 * @returns {boolean}
 */
function changedSince(folder, time) {
  if (statSync(folder).mtimeMs >= time) return true;
  return readdirSync(folder, { withFileTypes: true }).some((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return changedSince(path, time);
    return !entry.name.endsWith(".test.ts") && statSync(path).mtimeMs >= time;
  });
}

/**
 * The module to run: the build when nothing in `src` is newer than it (or there is no `src`, as in the published
 * package), otherwise the sources as they are.
 * @param {string} root
 * @returns {string | undefined} undefined when there is neither
 */
function entryPoint(root) {
  const built = join(root, "dist", "cli", "main.js");
  const stamp = statSync(join(root, "dist", ".stamp"), { throwIfNoEntry: false });
  const sources = join(root, "src");
  if (stamp !== undefined && existsSync(built) && (!existsSync(sources) || !changedSince(sources, stamp.mtimeMs))) return built;
  const main = join(sources, "cli", "main.ts");
  return existsSync(main) ? main : undefined;
}

/**
 * For systems that cannot replace a process (Windows): a child that has our streams, gets our signals, and gives us its exit code.
 * @param {readonly string[]} args
 */
function runAsChild(args) {
  const child = spawn(process.execPath, args, { stdio: "inherit" });
  for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    console.error(`garrison: cannot start \`${process.execPath}\`: ${error.message}`);
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
}

/**
 * Runs the command line in this process, or in its place.
 * @param {URL} rootUrl the package's folder
 * @param {readonly string[]} argv the arguments after `garrison`
 */
export async function launch(rootUrl, argv) {
  const entry = entryPoint(fileURLToPath(rootUrl));
  if (entry === undefined) {
    console.error(
      `garrison: neither \`dist/\` nor \`src/\` is in \`${fileURLToPath(rootUrl)}\`\n  help: install the package again, or run \`npm run build\` in a checkout`,
    );
    process.exitCode = 1;
    return;
  }
  const options = v8Options(argv[0] ?? "", entry);
  if (options.length === 0) {
    await import(pathToFileURL(entry).href);
    return;
  }
  const args = [...process.execArgv, ...options, entry, ...argv];
  if (process.platform === "win32" || process.execve === undefined) runAsChild(args);
  else process.execve(process.execPath, [process.execPath, ...args], process.env);
}
