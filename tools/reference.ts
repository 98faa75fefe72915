/**
 * Writes `docs/reference/` from the code: commands, diagnostics, attributes, kinds, metrics.
 *
 *     npm run reference
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { REFERENCE_FOLDER, renderReference } from "./reference/render.ts";

mkdirSync(REFERENCE_FOLDER, { recursive: true });
for (const [name, text] of await renderReference()) writeFileSync(join(REFERENCE_FOLDER, name), text);
