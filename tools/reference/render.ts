/** The pages of `docs/reference/`. */
import { join } from "node:path";
import process from "node:process";

export const REFERENCE_FOLDER = join(import.meta.dirname, "..", "..", "docs", "reference");

/** Each page by its file name. */
export async function renderReference(): Promise<ReadonlyMap<string, string>> {
  // It would stand in the page as a default: read before anything that reads it is loaded.
  delete process.env.GARRISON_STATE;
  const [{ cliPage }, { kindsPage }, { attributesPage, diagnosticsPage }, { metricsPage }] = await Promise.all([
    import("./cli.ts"),
    import("./kinds.ts"),
    import("./tables.ts"),
    import("./metrics.ts"),
  ]);
  return new Map([
    ["cli.md", await cliPage()],
    ["diagnostics.md", diagnosticsPage()],
    ["attributes.md", attributesPage()],
    ["kinds.md", kindsPage()],
    ["metrics.md", metricsPage()],
  ]);
}
