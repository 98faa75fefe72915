import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { DEFAULT_TRUST_DOMAIN } from "../../identity/trust-domain.ts";
import { TransparencyLog } from "./transparency-log.ts";

test("tiles that cannot be written are tried again, and leave no file open however often", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "log-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const log = new TransparencyLog(folder, DEFAULT_TRUST_DOMAIN);
  t.after(() => log.close());
  const inTheWay = join(log.folder, "checkpoint.new");
  mkdirSync(inTheWay);
  log.append([Buffer.from("entry")]);
  await log.committed();
  const open = () => readdirSync("/proc/self/fd").length;
  const before = open();
  for (let attempt = 0; attempt < 5; attempt++) await assert.rejects(log.published(), { code: "unavailable" });
  assert.equal(open(), before);
  rmdirSync(inTheWay);
  await log.published();
  assert.equal(log.size, 1);
});
