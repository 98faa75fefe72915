import { after } from "node:test";
import { describeForcedRotation, describeRotation } from "../feature/rotation.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

const [ENVOY, EMBEDDED] = [
  ["--proxy", "envoy"],
  ["--proxy", "embedded"],
];
const options = { skip: skipWithoutEnvoy(), scope: { after } };

describeRotation("an Envoy that calls an embedded proxy", { client: ENVOY, server: EMBEDDED }, options);
describeRotation("an embedded proxy that calls an Envoy", { client: EMBEDDED, server: ENVOY }, options);
describeForcedRotation("Envoy", { client: ENVOY, server: ENVOY }, options);
