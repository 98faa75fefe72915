import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { Ledger } from "./ledger.ts";
import { decodeEntry, isNote } from "./log/entry.ts";
import { TransparencyLog } from "./log/transparency-log.ts";

const DAY = 86_400_000;
const SHA = "ab".repeat(32);
const NOW = Date.UTC(2026, 10, 22);
let folder = "";
let path = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ledger-"));
  path = join(folder, "ledger.sqlite");
});
afterEach(() => rmSync(folder, { recursive: true }));

const intent = (serial: string) => ({
  serial,
  identity: "spiffe://cluster.local/ns/a/sa/b",
  caller: "token",
  notBefore: NOW,
  notAfter: NOW + DAY,
});

/** Opens the ledger for as long as `use` takes. */
function withLedger<T>(use: (ledger: Ledger) => T): T {
  const ledger = new Ledger(path);
  try {
    return use(ledger);
  } finally {
    ledger.close();
  }
}

const statesOf = (ledger: Ledger) => ledger.certificates({ limit: 100 }).map(({ serial, state }) => `${serial} ${state}`);

describe("Ledger", () => {
  test("keeps intents and what came of them", () => {
    withLedger((ledger) => {
      ledger.issue(ledger.intend(intent("01"), NOW), { sha256: SHA });
      ledger.fail(ledger.intend(intent("02"), NOW));
      ledger.intend(intent("03"), NOW);
      assert.deepEqual(statesOf(ledger), ["03 intended", "02 failed", "01 issued"]);
      assert.deepEqual(ledger.find("01"), { ...intent("01"), state: "issued", recordedAt: NOW, sha256: SHA, leaf: 0 });
      assert.equal(ledger.find("ff"), undefined);
    });
    assert.equal(statSync(path).mode & 0o777, 0o600);
  });

  test("writes good outcomes within the turn of the event loop, and all of a burst", async () => {
    const ledger = new Ledger(path);
    try {
      for (let i = 0; i < 200; i++) ledger.issue(ledger.intend(intent(String(i)), NOW), { sha256: SHA });
      await setImmediate();
      assert.deepEqual(new Set(ledger.certificates({ limit: 300 }).map(({ state }) => state)), new Set(["issued"]));
    } finally {
      ledger.close();
    }
  });

  test("marks what the last run left open as interrupted, and tells how many", () => {
    withLedger((ledger) => {
      ledger.intend(intent("01"), NOW);
      ledger.issue(ledger.intend(intent("02"), NOW), { sha256: SHA });
    });
    withLedger((ledger) => {
      assert.equal(ledger.interrupted, 1);
      assert.deepEqual(statesOf(ledger), ["02 issued", "01 interrupted"]);
    });
    assert.equal(
      withLedger((ledger) => ledger.interrupted),
      0,
    );
  });

  test("keeps the newest 10,000 refusals and no more, so that nobody fills the disk with them", () => {
    const refuse = (ledger: Ledger, from: number, to: number) => {
      for (let i = from; i < to; i++) ledger.refuse({ identity: "", caller: "nobody", reason: `number ${i} ${"x".repeat(2000)}` }, NOW);
    };
    withLedger((ledger) => refuse(ledger, 0, 10_002));
    withLedger((ledger) => {
      refuse(ledger, 10_002, 10_003);
      const refusals = ledger.refusals({ limit: 20_000 });
      assert.equal(refusals.length, 10_000);
      assert.equal(refusals[0]?.reason.length, 500);
      assert.match(refusals[0]?.reason ?? "", /^number 10002 /);
      assert.match(refusals.at(-1)?.reason ?? "", /^number 3 /);
    });
  });

  test("forgets certificates 120 days after they were recorded, and none before", () => {
    withLedger((ledger) => {
      ledger.issue(ledger.intend(intent("01"), NOW), { sha256: SHA });
      ledger.issue(ledger.intend(intent("02"), NOW + 30 * DAY), { sha256: SHA });
    });
    withLedger((ledger) => {
      ledger.intend(intent("03"), NOW + 120 * DAY + 1);
      assert.deepEqual(statesOf(ledger), ["03 intended", "02 issued"]);
    });
  });

  test("takes the ledgers of older versions, and names the authority of what was issued before there were several", () => {
    const columns = [
      "",
      "id INTEGER PRIMARY KEY, serial TEXT NOT NULL, identity TEXT NOT NULL, caller TEXT NOT NULL, not_before INTEGER NOT NULL, not_after INTEGER NOT NULL, recorded_at INTEGER NOT NULL, state TEXT NOT NULL",
      ", sha256 TEXT, leaf INTEGER",
      ", key_id TEXT",
    ];
    for (const version of [1, 2, 3]) {
      const older = new DatabaseSync(path);
      older.exec(`
        CREATE TABLE certificates (${columns.slice(0, version + 1).join("")}) STRICT;
        CREATE TABLE refusals (slot INTEGER PRIMARY KEY, number INTEGER NOT NULL, recorded_at INTEGER NOT NULL, identity TEXT NOT NULL, caller TEXT NOT NULL, reason TEXT NOT NULL) STRICT;
        INSERT INTO certificates (serial, identity, caller, not_before, not_after, recorded_at, state) VALUES ('01', 'a', 'token', ${NOW}, ${NOW + DAY}, ${NOW}, 'issued');
        PRAGMA user_version = ${version}`);
      older.close();
      withLedger((ledger) => {
        assert.deepEqual(ledger.holdersOf("any", NOW), [{ identity: "a", certificates: 1, until: NOW + DAY }], "it may be of any");
        ledger.attribute("first");
        assert.deepEqual([ledger.find("01")?.authority, ledger.holdersOf("second", NOW)], ["first", []]);
      });
      rmSync(path);
    }
  });

  test("tells who has unexpired certificates of an authority, the control plane's own apart", () => {
    withLedger((ledger) => {
      const issue = (serial: string, authority: string, more: { readonly caller?: string; readonly notAfter?: number } = {}) =>
        ledger.issue(ledger.intend({ ...intent(serial), ...more }, NOW), { sha256: SHA, authority });
      issue("01", "old");
      issue("02", "old", { notAfter: NOW + 2 * DAY });
      issue("03", "old", { notAfter: NOW - 1 });
      issue("04", "new");
      issue("05", "old", { caller: "control plane" });
      ledger.fail(ledger.intend(intent("06"), NOW));
      const { identity } = intent("01");
      assert.deepEqual(ledger.holdersOf("old", NOW), [{ identity, certificates: 2, until: NOW + 2 * DAY }]);
      assert.deepEqual(ledger.holdersOf("new", NOW), [{ identity, certificates: 1, until: NOW + DAY }]);
      assert.deepEqual(ledger.holdersOf("other", NOW), []);
    });
  });

  test("refuses a file that is no ledger, and one of another version", () => {
    writeFileSync(path, "this is not a database ".repeat(100));
    assert.throws(() => new Ledger(path), {
      name: "AppError",
      code: "invalid-configuration",
      message: /cannot be opened as the issuance ledger/,
    });
    rmSync(path);
    const other = new DatabaseSync(path);
    other.exec("PRAGMA user_version = 99");
    other.close();
    assert.throws(() => new Ledger(path), { code: "invalid-configuration", message: /written by another version \(99\)/ });
  });

  test("is used by one process at a time", () => {
    withLedger(() => assert.throws(() => new Ledger(path), { code: "unavailable", message: /in use by another process/ }));
  });

  test("throws `unavailable` when it cannot write, so that nothing is signed", () => {
    const ledger = new Ledger(path);
    ledger.close();
    assert.throws(() => ledger.intend(intent("01"), NOW), { name: "AppError", code: "unavailable" });
  });
});

/** Runs a program of its own process until it prints `lines` lines, kills it with SIGKILL, and answers what it printed. */
async function killAfter(lines: number, program: string): Promise<readonly string[]> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  const exited = once(child, "exit");
  for await (const chunk of child.stdout) {
    text += chunk;
    if (text.split("\n").length > lines) child.kill("SIGKILL");
  }
  const [, signal] = await exited;
  assert.equal(signal, "SIGKILL");
  return text.split("\n").slice(0, -1);
}

const moduleUrl = (name: string) => JSON.stringify(new URL(name, import.meta.url).href);

describe("after kill -9", () => {
  test("an intent that had no outcome is there, marked as interrupted", async () => {
    const program = `
      import { Ledger } from ${moduleUrl("ledger.ts")};
      const ledger = new Ledger(${JSON.stringify(path)});
      ledger.intend(${JSON.stringify(intent("01"))}, ${NOW});
      console.log("signing");
      setInterval(() => undefined, 1000);`;
    assert.deepEqual(await killAfter(1, program), ["signing"]);
    withLedger((ledger) => {
      assert.equal(ledger.interrupted, 1);
      assert.deepEqual(statesOf(ledger), ["01 interrupted"]);
    });
  });

  test("at most 64 outcomes of a burst are unknown", async () => {
    const program = `
      import { Ledger } from ${moduleUrl("ledger.ts")};
      const ledger = new Ledger(${JSON.stringify(path)});
      const intent = ${JSON.stringify(intent(""))};
      for (let i = 0; i < 200; i++) ledger.issue(ledger.intend({ ...intent, serial: String(i) }, ${NOW}), { sha256: "" });
      process.kill(process.pid, "SIGKILL");`;
    await killAfter(1, program);
    withLedger((ledger) => {
      assert.equal(ledger.certificates({ limit: 300 }).length, 200);
      assert.equal(ledger.interrupted, 200 % 64);
    });
  });

  test("every certificate that was handed out is issued by the ledger and provable by the log, and the authority issues again", async () => {
    const program = `
      import { writeSync } from "node:fs";
      import { openAuthority } from ${moduleUrl("authority.ts")};
      import { buildCsr, generateKey } from ${moduleUrl("../x509/csr-builder.ts")};
      const silent = { log() {} };
      const authority = openAuthority({ stateFolder: ${JSON.stringify(folder)}, trustDomain: "cluster.local", clock: { now: () => ${NOW} }, logger: silent });
      const identity = { trustDomain: "cluster.local", namespace: "a", serviceAccount: "b" };
      const csr = buildCsr(generateKey(), "spiffe://cluster.local/ns/a/sa/b");
      const issue = () => {
        const one = async () => {
          const { serial } = await authority.recorded(await authority.issue({ csr, identity, ttlSeconds: 0, caller: "token" }));
          writeSync(1, serial + "\\n");
        };
        Promise.all([one(), one(), one()]).then(issue);
      };
      issue();`;
    const serials = await killAfter(50, program);
    path = join(folder, "ca", "ledger.sqlite");
    const proved = new Map(
      new TransparencyLog(join(folder, "ca"), parseTrustDomain("cluster.local")).reader.entries().map((entry, leaf) => {
        const decoded = decodeEntry(entry);
        return [isNote(decoded) ? "" : decoded.serial, leaf] as const;
      }),
    );
    assert.deepEqual(
      serials.filter((serial) => !proved.has(serial)),
      [],
    );
    withLedger((ledger) => {
      const known = new Map(ledger.certificates({ limit: 100_000 }).map(({ serial, state }) => [serial, state]));
      assert.deepEqual(
        serials.filter((serial) => known.get(serial) !== "issued"),
        [],
      );
      assert.ok(ledger.interrupted <= 3);
      ledger.issue(ledger.intend(intent("next"), NOW), { sha256: SHA });
      assert.equal(ledger.find("next")?.state, "issued");
    });
  });
});
