import { after } from "node:test";
import { describeFederation } from "../feature/federation.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeFederation("Envoy", ["--proxy", "envoy"], { skip: skipWithoutEnvoy(), scope: { after } });
