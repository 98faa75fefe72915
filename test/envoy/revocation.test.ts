/** Revocation under a real Envoy, by the command line. */
import { after } from "node:test";
import { describeRevocation } from "../feature/revocation.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeRevocation("Envoy", ["--proxy", "envoy"], { skip: skipWithoutEnvoy(), scope: { after } });
