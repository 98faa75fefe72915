import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { silentLogger } from "../core/logger.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import { type Authority, openAuthority } from "./authority.ts";
import { revoke } from "./revoke.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart";
const clock = { now: () => Date.UTC(2026, 0, 1) };

/** The identifier of the certificate's key. */
async function issue(authority: Authority): Promise<string> {
  const request = { csr: buildCsr(generateKey(), IDENTITY), identity: parseSpiffeId(IDENTITY), ttlSeconds: 0, caller: "token" };
  const { serial } = await authority.recorded(await authority.issue(request));
  return authority.ledger.find(serial)?.keyId ?? "";
}

test("revoking a key tells how many certificates may have it that the ledger knows from its log alone", async (t) => {
  const stateFolder = tempFolder(t);
  const open = () => openAuthority({ stateFolder, trustDomain: DEFAULT_TRUST_DOMAIN, clock, logger: silentLogger });
  const first = open();
  const value = await issue(first);
  await issue(first);
  await first.log.published();
  first.close();
  for (const name of ["ledger.sqlite", "ledger.sqlite-wal"]) rmSync(join(stateFolder, "ca", name), { force: true });
  const second = open();
  t.after(() => second.close());
  const { revoked, keyless } = revoke(second, { kind: "key", value, reason: "keyCompromise" }, clock.now());
  assert.deepEqual([revoked.length, keyless], [0, 2]);
  const [{ serial = "" } = {}] = second.ledger.certificates({ limit: 1 });
  revoke(second, { kind: "serial", value: serial, reason: "keyCompromise" }, clock.now());
  const known = revoke(second, { kind: "key", value: await issue(second), reason: "keyCompromise" }, clock.now());
  assert.deepEqual([known.revoked.length, known.keyless], [1, 1]);
});
