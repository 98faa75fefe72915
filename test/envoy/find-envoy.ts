/** Where tests find a real Envoy; without one they are skipped by name, or fail where one is required. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** From `ENVOY_PATH`, the search path, or the folder that `npm run setup:envoy` fills. */
export function findEnvoy(): string | undefined {
  const fromPath = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "envoy"));
  const own = join(import.meta.dirname, "..", "..", ".tools", "envoy", "bin", "envoy");
  const named = process.env.ENVOY_PATH;
  return [...(named === undefined ? [] : [named]), ...fromPath, own].find(isExecutable);
}

/** For `test(name, { skip }, …)`: false, or why there is no Envoy to test with. `GARRISON_REQUIRE_ENVOY=1` makes its absence a failure. */
export function skipWithoutEnvoy(): false | string {
  if (findEnvoy() !== undefined) return false;
  if (process.env.GARRISON_REQUIRE_ENVOY === "1") throw new Error("no Envoy: set ENVOY_PATH or run `npm run setup:envoy`");
  return "no Envoy: set ENVOY_PATH or run `npm run setup:envoy`";
}
