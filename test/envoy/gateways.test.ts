/** Gateways by the command line, with a real Envoy. */
import { after } from "node:test";
import { describeGateways } from "../feature/gateways.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeGateways("Envoy", ["--proxy", "envoy"], { skip: skipWithoutEnvoy(), scope: { after } });
