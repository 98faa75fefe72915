/** Dry runs by a real Envoy, by the command line. */
import { after } from "node:test";
import { describeDryRun } from "../feature/dry-run.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeDryRun("Envoy", ["--proxy", "envoy"], { skip: skipWithoutEnvoy(), scope: { after } });
