/** Faults under a real Envoy, by the command line. */
import { after } from "node:test";
import { describeFaults } from "../feature/faults.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();

describeFaults("Envoy (delta)", ["--proxy", "envoy"], { skip, scope: { after } });
