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
import { decodeEntry, isNote } from "./log/entry.ts";
import { UpstreamCa } from "./upstream/upstream-ca.ts";

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

/** The same where another CA signs: what it is asked for, and what it answers. */
const ENDS_UPSTREAM: Readonly<Record<string, string>> = {
  prepared: "before(Ledger, 'intended')",
  "intent recorded": "upstream.request = die",
  "other CA asked": "upstream.request = (request) => sign(request).then(die)",
  "answer checked": "before(Ledger, 'issue')",
  "outcome in the ledger": "before(TransparencyLog, 'append')",
  "outcome in the journal": "after(Journal, 'append')",
  answered: "answered = die",
  "tiles written": "before(Unsynced, 'sync')",
  "checkpoint in place": "after(Unsynced, 'replace')",
};

/** Another CA, in the same process: it has neither ledger nor log. */
function upstreamProgram(folder: string): string {
  return `
    import { writeFileSync } from "node:fs";
    import { OwnCa } from ${url("own-ca.ts")};
    import { UpstreamCa } from ${url("upstream/upstream-ca.ts")};
    import { WORKLOAD } from ${url("issue-checks.ts")};
    import { parseCsr } from ${url("../x509/csr.ts")};
    import { formatPem } from ${url("../x509/pem.ts")};
    const other = new OwnCa({ folder: ${JSON.stringify(join(folder, "other"))}, trustDomain: "cluster.local", clock: Date, logger: { log() {} } });
    const pem = ({ der }) => formatPem("CERTIFICATE", der);
    const rootsFile = ${JSON.stringify(join(folder, "other-root.pem"))};
    writeFileSync(rootsFile, other.current.roots.map(pem).join(""), { mode: 0o600 });
    const sign = async ({ csr, uri, ttlSeconds }) => {
      const order = { csr, spki: parseCsr(csr).spki, uri, dnsNames: [], ttlSeconds, now: Date.now() };
      return [pem((await other.current.certifier.prepare(WORKLOAD, order).certify()).leaf)];
    };
    const upstream = { name: "another CA", request: sign, close() {} };
    const ca = new UpstreamCa({ connect: () => upstream, rootsFile, clock: Date, logger: { log() {} } });`;
}

function program(stateFolder: string, end: string, upstream: string): string {
  return `${upstream}
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
    const authority = openAuthority({ stateFolder: ${JSON.stringify(stateFolder)}, trustDomain: "cluster.local", clock: Date, logger: { log() {} }${upstream === "" ? "" : ", ca"} });
    ${end};
    const identity = { trustDomain: "cluster.local", namespace: "a", serviceAccount: "b" };
    await authority.recorded(await authority.issue({ csr: ${JSON.stringify(csr)}, identity, ttlSeconds: 0, caller: "token" }));
    answered();`;
}

/** The next start has the same roots, and asks for nothing. */
function upstreamOf(rootsFile: string): UpstreamCa {
  const upstream = { name: "another CA", request: async () => [], close: () => undefined };
  return new UpstreamCa({ connect: () => upstream, rootsFile, clock: Date, logger: silentLogger });
}

/** What the next start finds of the certificate. */
async function outcomeOf(end: string, by: "own" | "upstream"): Promise<readonly [string, string]> {
  const folder = mkdtempSync(join(tmpdir(), "cycle-"));
  const stateFolder = join(folder, "state");
  try {
    const upstream = by === "own" ? "" : upstreamProgram(folder);
    const child = spawn(process.execPath, ["--input-type=module", "-e", program(stateFolder, end, upstream)], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    const [, signal] = await once(child, "exit");
    assert.equal(signal, "SIGKILL");
    const ca = by === "own" ? {} : { ca: upstreamOf(join(folder, "other-root.pem")) };
    const authority = openAuthority({
      stateFolder,
      trustDomain: parseTrustDomain("cluster.local"),
      clock: Date,
      logger: silentLogger,
      ...ca,
    });
    const rows = authority.ledger.certificates({ limit: 10 });
    const entries = [...authority.log.reader.entries().map(decodeEntry)];
    authority.close();
    assert.deepEqual(
      entries.map((entry) => (isNote(entry) ? entry.type : entry.serial)),
      rows.filter(({ state }) => state === "issued").map(({ serial }) => serial),
    );
    return [rows.map(({ state }) => state).join() || "none", entries.length > 0 ? "yes" : "no"];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const page = readFileSync(new URL("../../docs/issuance-cycle.md", import.meta.url), "utf8");
const [ownPart = "", upstreamPart = ""] = page.split("\n## Where another CA signs\n");

function tableOf(part: string) {
  return [...part.matchAll(/^\| ([a-zA-Z ]+) \| (none|[a-z]+) \| (yes|no) \|$/gm)].map(([, last = "", row = "", entry = ""]) => ({
    last,
    row,
    entry,
  }));
}

for (const [by, part, ends] of [
  ["own", ownPart, ENDS],
  ["upstream", upstreamPart, ENDS_UPSTREAM],
] as const) {
  describe(`killed, where ${by === "own" ? "the CA signs itself" : "another CA signs"}, when the last thing done was`, () => {
    const table = tableOf(part);
    test("one of those that the page lists, the process leaves what it says", () => {
      assert.deepEqual(
        table.map(({ last }) => last),
        Object.keys(ends),
      );
    });
    for (const { last, row, entry } of table) {
      test(`${last}: the next start finds a row \`${row}\`, and an entry of the log: ${entry}`, async () => {
        assert.deepEqual(await outcomeOf(ends[last] ?? "", by), [row, entry]);
      });
    }
  });
}
