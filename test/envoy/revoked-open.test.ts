/**
 * Open connections through Envoy when a certificate is revoked: those of TCP ports end, those of HTTP ports go on. A response that is under
 * way goes on too (docs/limits.md): Envoy's rules are asked once for a request.
 */
import { after } from "node:test";
import { describeOpenConnections } from "../feature/revoked-open.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeOpenConnections("Envoy", ["--proxy", "envoy"], {
  skip: skipWithoutEnvoy(),
  scope: { after },
  endsTcpOfAll: true,
  cutsResponses: false,
});
