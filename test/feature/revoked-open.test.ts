/** Open connections through the embedded proxy when a certificate is revoked: those of its peer end, and no other. */
import { after } from "node:test";
import { describeOpenConnections } from "./revoked-open.ts";

describeOpenConnections("the embedded proxy", ["--proxy", "embedded"], {
  scope: { after },
  endsTcpOfAll: false,
  cutsResponses: true,
});
