/** Looks for programs. */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** The first of `names` that can be run in the first of `folders` that has one. */
export function findExecutable(folders: readonly string[], names: readonly string[]): string | undefined {
  const paths = folders.flatMap((folder) => names.map((name) => join(folder, name)));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
