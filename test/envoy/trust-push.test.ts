import { after } from "node:test";
import { describeTrustPush } from "../feature/trust-push.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeTrustPush("Envoy", ["--proxy", "envoy"], { skip: skipWithoutEnvoy(), scope: { after } });
