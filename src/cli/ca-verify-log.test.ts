import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { openAuthority } from "../ca/authority.ts";
import { JWT_SVIDS_FILE, JwtSvidRecord } from "../ca/jwt-svid-record.ts";
import { followIntoLog } from "../ca/ledger-follow.ts";
import { silentLogger } from "../core/logger.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { writeControlPlaneFile } from "../server/files.ts";
import { command } from "./ca-verify-log.ts";
import { parseCommandLine } from "./command.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart";

test("a control plane whose records are in a folder of their own has its JWT-SVIDs looked for there", async (t) => {
  const [state, records] = [tempFolder(t), tempFolder(t)];
  const clock = { now: () => Date.now() };
  const authority = openAuthority({
    stateFolder: state,
    recordsFolder: records,
    trustDomain: DEFAULT_TRUST_DOMAIN,
    clock,
    logger: silentLogger,
  });
  const jwtSvids = new JwtSvidRecord(join(records, JWT_SVIDS_FILE));
  const { ledger, revocations } = authority;
  const stop = followIntoLog({ ledger, revocations, jwtSvids, clock, logger: silentLogger });
  const issuedAt = Date.now();
  jwtSvids.add({ id: "one", identity: IDENTITY, audiences: ["db"], issuedAt, expiresAt: issuedAt + 300_000, sha256: "ab".repeat(32) });
  stop();
  await authority.log.published();
  jwtSvids.close();
  authority.close();
  writeControlPlaneFile(state, {
    pid: process.pid,
    host: "127.0.0.1",
    port: 1,
    identity: "spiffe://cluster.local/ns/istio-system/sa/garrison",
    trustDomain: "cluster.local",
    rootCertificate: join(state, "ca", "root-cert.pem"),
    adminSocket: join(state, "admin.sock"),
    records,
  });
  const said: string[] = [];
  t.mock.method(process.stdout, "write", (text: string) => said.push(text) > 0);
  const exit = await command.run(parseCommandLine(command, ["--state", state]));
  t.mock.restoreAll();
  assert.match(said.join(""), /^the log holds: 0 certificates, 1 of revocations and JWT-SVIDs, /);
  assert.equal(exit, 0);
});
