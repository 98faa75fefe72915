/** What an agent got, under a real Envoy. */
import { after } from "node:test";
import { describeAgentCredentials } from "../feature/agent-credentials.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeAgentCredentials("Envoy", ["--proxy", "envoy"], { skip: skipWithoutEnvoy(), scope: { after } });
