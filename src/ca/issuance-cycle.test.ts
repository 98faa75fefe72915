/** `docs/issuance-cycle.md` held to its word: a process is killed after each step, and the next start finds what the page says. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { silentLogger } from "../core/logger.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { buildCsr, generateKey } from "../x509/csr-builder.ts";
import { openAuthority } from "./authority.ts";
import { decodeEntry } from "./log/entry.ts";

const URI = "spiffe://cluster.local/ns/a/sa/b";
const csr = buildCsr(generateKey(), URI);

/** By the table's first column: the method before which, or after which, the process ends. */
const ENDS: Readonly<Record<string, string>> = {
  checked: "before(Issuer, 'prepare')",
  prepared: "before(Ledger, 'intended')",
  "intent recorded": "before(Issuer, 'certify')",
  signed: "before(Ledger, 'issue')",
  "outcome in the ledger": "before(TransparencyLog, 'append')",
  "outcome in the journal": "after(Journal, 'append')",
  answered: "answered = die",
  "tiles written": "before(Unsynced, 'sync')",
  "checkpoint in place": "after(Unsynced, 'replace')",
};

const url = (path: string) => JSON.stringify(new URL(path, import.meta.url).href);

function program(stateFolder: string, end: string): string {
  return `
    import { openAuthority } from ${url("authority.ts")};
    import { Ledger } from ${url("ledger.ts")};
    import { Journal } from ${url("log/journal.ts")};
    import { Unsynced } from ${url("log/log-files.ts")};
    import { TransparencyLog } from ${url("log/transparency-log.ts")};
    import { Issuer } from ${url("../x509/issuer.ts")};
    const die = () => process.kill(process.pid, "SIGKILL");
    const before = ({ prototype }, name) => { prototype[name] = die; };
    const after = ({ prototype }, name) => {
      const original = prototype[name];
      prototype[name] = function (...args) { original.apply(this, args); die(); };
    };
    let answered = () => undefined;
    const authority = openAuthority({ stateFolder: ${JSON.stringify(stateFolder)}, trustDomain: "cluster.local", clock: Date, logger: { log() {} } });
    ${end};
    const identity = { trustDomain: "cluster.local", namespace: "a", serviceAccount: "b" };
    await authority.recorded(await authority.issue({ csr: ${JSON.stringify(csr)}, identity, ttlSeconds: 0, caller: "token" }));
    answered();`;
}

/** What the next start finds of the certificate. */
async function outcomeOf(end: string): Promise<readonly [string, string]> {
  const stateFolder = mkdtempSync(join(tmpdir(), "cycle-"));
  try {
    const child = spawn(process.execPath, ["--input-type=module", "-e", program(stateFolder, end)], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const [, signal] = await once(child, "exit");
    assert.equal(signal, "SIGKILL");
    const authority = openAuthority({ stateFolder, trustDomain: parseTrustDomain("cluster.local"), clock: Date, logger: silentLogger });
    const rows = authority.ledger.certificates({ limit: 10 });
    const entries = [...authority.log.reader.entries().map(decodeEntry)];
    authority.close();
    assert.deepEqual(
      entries.map(({ serial }) => serial),
      rows.filter(({ state }) => state === "issued").map(({ serial }) => serial),
    );
    return [rows.map(({ state }) => state).join() || "none", entries.length > 0 ? "yes" : "no"];
  } finally {
    rmSync(stateFolder, { recursive: true });
  }
}

const page = readFileSync(new URL("../../docs/issuance-cycle.md", import.meta.url), "utf8");
const table = [...page.matchAll(/^\| ([a-z ]+) \| (none|[a-z]+) \| (yes|no) \|$/gm)].map(([, last = "", row = "", entry = ""]) => ({
  last,
  row,
  entry,
}));

describe("killed when the last thing done was", () => {
  test("one of those that the page lists, the process leaves what it says", () => {
    assert.deepEqual(
      table.map(({ last }) => last),
      Object.keys(ENDS),
    );
  });
  for (const { last, row, entry } of table) {
    test(`${last}: the next start finds a row \`${row}\`, and an entry of the log: ${entry}`, async () => {
      assert.deepEqual(await outcomeOf(ENDS[last] ?? ""), [row, entry]);
    });
  }
});
