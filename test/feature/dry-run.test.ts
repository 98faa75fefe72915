/** Dry runs by the embedded proxy. */
import { after } from "node:test";
import { describeDryRun } from "./dry-run.ts";

describeDryRun("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });
