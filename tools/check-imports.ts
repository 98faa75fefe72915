/**
 * Holds the directions of imports in `src/` (tools/imports/rules.ts): down only, no siblings, pure folders pure, no cycle,
 * nothing from `test/`. Tests are free to import what they check with; nothing else may import a test.
 *
 *     node tools/check-imports.ts [ROOT]
 */
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import process from "node:process";
import { findCycles } from "./imports/cycles.ts";
import { folderOf, PURE_FOLDERS, refusal } from "./imports/rules.ts";
import { findSpecifiers, type Specifier } from "./imports/specifiers.ts";

/** A module, its path below `src` with `/`. */
interface Module {
  readonly path: string;
  readonly folder: string | undefined;
  readonly specifiers: readonly Specifier[];
}

interface Problem {
  readonly file: string;
  readonly line: number;
  readonly why: string;
}

function readModules(sources: string): readonly Module[] {
  const paths = globSync("**/*.ts", { cwd: sources }).map((path) => path.replaceAll("\\", "/"));
  return paths
    .filter((path) => !path.startsWith("gen/") && !path.endsWith(".test.ts"))
    .sort()
    .map((path) => ({ path, folder: folderOf(path), specifiers: findSpecifiers(readFileSync(join(sources, path), "utf8")) }));
}

/** Where a relative specifier leads, below `src` (or `../…` when outside), with `/`. */
function targetOf(module: Module, specifier: string): string {
  return join(dirname(module.path), specifier).replaceAll("\\", "/");
}

/** What is wrong with one import that stays in the project. */
function checkRelative(sources: string, module: Module, folder: string, text: string): string | undefined {
  const target = targetOf(module, text);
  if (target.startsWith("../")) return `\`${text}\` is outside \`src\``;
  if (target.endsWith(".test.ts")) return `\`${text}\` is a test`;
  if (!existsSync(join(sources, target))) return `\`${text}\` does not exist`;
  const targetFolder = folderOf(target);
  if (targetFolder === undefined) return `\`${text}\` is in a folder that has no place in tools/imports/rules.ts`;
  const why = refusal(folder, targetFolder, target);
  return why === undefined ? undefined : `${folder} may not import \`${target}\`: ${why}`;
}

function checkSpecifier(sources: string, module: Module, folder: string, { text }: Specifier): string | undefined {
  if (text === undefined) return "`import(…)` takes something else than a plain string, which cannot be checked";
  if (text.startsWith(".")) return checkRelative(sources, module, folder, text);
  if (!PURE_FOLDERS.has(folder)) return undefined;
  return `${folder} is pure: it may not import \`${text}\`, nor any other package or \`node:\` module`;
}

function checkModule(sources: string, module: Module): readonly Problem[] {
  const file = `src/${module.path}`;
  const { folder } = module;
  if (folder === undefined) return [{ file, line: 1, why: "its folder has no place in tools/imports/rules.ts" }];
  return module.specifiers.flatMap((specifier) => {
    const why = checkSpecifier(sources, module, folder, specifier);
    return why === undefined ? [] : [{ file, line: specifier.line, why }];
  });
}

function checkCycles(modules: readonly Module[]): readonly Problem[] {
  const relatives = (module: Module) => module.specifiers.flatMap(({ text }) => (text?.startsWith(".") ? [targetOf(module, text)] : []));
  const cycles = findCycles(new Map(modules.map((module) => [module.path, relatives(module)])));
  return cycles.map((cycle) => ({ file: `src/${cycle[0]}`, line: 1, why: `import cycle: ${[...cycle, cycle[0]].join(" -> ")}` }));
}

/** Returns the process's exit code. */
function main(root: string): number {
  const sources = join(root, "src");
  const modules = readModules(sources);
  const problems = [...modules.flatMap((module) => checkModule(sources, module)), ...checkCycles(modules)];
  for (const { file, line, why } of problems) console.error(`${relative(process.cwd(), join(root, file))}:${line}: ${why}`);
  console.log(`imports: ${modules.length} modules, ${problems.length} ${problems.length === 1 ? "problem" : "problems"}`);
  return problems.length === 0 && modules.length > 0 ? 0 : 1;
}

process.exitCode = main(resolve(process.argv[2] ?? dirname(import.meta.dirname)));
