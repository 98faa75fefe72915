import { after } from "node:test";
import { describePluggedCa } from "../feature/plugged-ca.ts";
import { CA_KINDS } from "../fixture/openssl-ca.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

for (const kind of CA_KINDS) describePluggedCa("Envoy", ["--proxy", "envoy"], kind, { skip: skipWithoutEnvoy(), scope: { after } });
