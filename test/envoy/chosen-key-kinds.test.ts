/** Kinds of keys under a real Envoy, by the command line. */
import { after } from "node:test";
import { describeKeyKinds } from "../feature/key-kinds.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeKeyKinds("Envoy", ["--proxy", "envoy"], { skip: skipWithoutEnvoy(), scope: { after } });
