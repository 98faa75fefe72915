import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { RecordingLogger } from "../../test/fakes/recording-logger.ts";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { silentLogger } from "../core/logger.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { Ledger } from "./ledger.ts";
import { reconcile } from "./ledger-log.ts";
import { TransparencyLog } from "./log/transparency-log.ts";

const NOW = Date.UTC(2026, 0, 1);
const IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart";

function open(t: TestContext) {
  const folder = tempFolder(t);
  const [ledger, log] = [new Ledger(join(folder, "ledger.sqlite")), new TransparencyLog(folder, DEFAULT_TRUST_DOMAIN)];
  t.after(() => {
    ledger.close();
    log.close();
  });
  return { ledger, log };
}

function issue(ledger: Ledger, count: number): void {
  for (let serial = 0; serial < count; serial++) {
    const intent = { serial: serial.toString(16), identity: IDENTITY, caller: "token", notBefore: NOW, notAfter: NOW + 1 };
    ledger.issue(ledger.intend(intent, NOW), { sha256: "00".repeat(32) });
  }
  ledger.flush();
}

test("whoever is killed after revoking thousands of certificates at once starts again, and the log has them", (t) => {
  const { ledger, log } = open(t);
  issue(ledger, 3);
  for (let serial = 0; serial < 5_000; serial++)
    ledger.note({
      type: "revoked",
      serial: serial.toString(16),
      identity: IDENTITY,
      sha256: "00".repeat(32),
      at: NOW,
      reason: "unspecified",
    });
  reconcile(ledger, log, NOW, silentLogger);
  assert.equal(log.size, 5_003);
});

test("certificates that waited for a full disk, with those that were being signed then, are published at the next start", (t) => {
  const { ledger, log } = open(t);
  issue(ledger, 4_096 + 64);
  const logger = new RecordingLogger();
  reconcile(ledger, log, NOW, logger);
  assert.equal(log.size, 4_160);
  assert.deepEqual(
    logger.lines.map(({ message, fields }) => [message, fields]),
    [["the log lacked what its ledger has: it is added", { from: 0, entries: 4_160 }]],
  );
});

test("a log that lacks more certificates than can have waited was set back, and is not added to", (t) => {
  const { ledger, log } = open(t);
  issue(ledger, 8_193);
  assert.throws(() => reconcile(ledger, log, NOW, silentLogger), {
    code: "invalid-configuration",
    message: /0 certificates .* 8193: it was set back/,
  });
  assert.equal(log.size, 0);
});
