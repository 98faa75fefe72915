/** Every page of `docs/`, with what it refers to. */
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");

export interface DocsPage {
  /** Relative to the checkout. */
  readonly path: string;
  readonly text: string;
}

/** All pages, and those in the checkout's root that lead to them. */
export function docsPages(): readonly DocsPage[] {
  const paths = globSync(["docs/**/*.md", "*.md", "examples/*/*.md"], { cwd: ROOT }).sort();
  return paths.map((path) => ({ path, text: readFileSync(join(ROOT, path), "utf8") }));
}

/** Links of a page to files that do not exist. */
export function brokenLinks({ path, text }: DocsPage): readonly string[] {
  const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
  const files = targets.filter((target) => !/^[a-z]+:/.test(target)).map((target) => target.split("#")[0] ?? "");
  return files.filter((file) => file !== "" && !existsSync(join(ROOT, dirname(path), file)));
}

/** The `yaml` blocks of a page that are whole objects. */
export function objectsIn({ text }: DocsPage): readonly string[] {
  return [...text.matchAll(/^```yaml\n([\s\S]*?)\n```$/gm)].map(([, body = ""]) => body).filter((body) => body.includes("apiVersion:"));
}
