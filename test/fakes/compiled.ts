/** A program of this checkout with its types stripped, for Node flags under which Node does not strip them itself. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { dirname, join, relative, resolve } from "node:path";

const ROOT = join(import.meta.dirname, "../..");
const RELATIVE_IMPORT = /\b(?:from|import) "(\.[^"]+)"/g;

/** Writes the program and what it imports into `folder`; returns the path of its main file. */
export function compile(main: string, folder: string): string {
  const done = new Set<string>();
  const target = (file: string) => join(folder, relative(ROOT, file).replace(/\.ts$/, ".js"));
  const visit = (file: string) => {
    if (done.has(file)) return;
    done.add(file);
    const source = readFileSync(file, "utf8");
    const text = file.endsWith(".ts") ? stripTypeScriptTypes(source) : source;
    for (const [, specifier = ""] of text.matchAll(RELATIVE_IMPORT)) visit(resolve(dirname(file), specifier));
    mkdirSync(dirname(target(file)), { recursive: true });
    writeFileSync(
      target(file),
      text.replaceAll(RELATIVE_IMPORT, (whole) => whole.replace(/\.ts"$/, '.js"')),
    );
  };
  visit(main);
  writeFileSync(join(folder, "package.json"), '{"type": "module"}');
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  return target(main);
}
