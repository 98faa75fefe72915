/** A crash at any moment of a step leaves the CA as it was before the step or as it is after it. */
import assert from "node:assert/strict";
import fs, { cpSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { silentLogger } from "../core/logger.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { parseCertificates } from "../x509/certificate.ts";
import { authorityId } from "./authority-id.ts";
import { OwnCa } from "./own-ca.ts";

const CHANGING = ["openSync", "writeSync", "renameSync", "linkSync", "rmSync"] as const;

const open = (folder: string) => new OwnCa({ folder, trustDomain: DEFAULT_TRUST_DOMAIN, clock: Date, logger: silentLogger });
const statesOf = (ca: OwnCa) => ca.authorities.map(({ id, state }) => `${id} ${state}`).join(", ");

/** Runs the step; a copy of the folder for each moment before something in it changes. */
function momentsOf(t: TestContext, folder: string, step: () => void): readonly string[] {
  const copies = tempFolder(t);
  const moments: string[] = [];
  const originals = Object.fromEntries(CHANGING.map((name) => [name, fs[name]]));
  const look = () => {
    const copy = join(copies, String(moments.length));
    moments.push(copy);
    // Copying opens and writes files itself.
    restore();
    mkdirSync(copy, { mode: 0o700 });
    cpSync(folder, copy, { recursive: true });
    watch();
  };
  function watch(): void {
    for (const name of CHANGING) {
      const original = originals[name] as (...args: unknown[]) => unknown;
      Object.assign(fs, {
        [name]: (...args: unknown[]) => {
          look();
          return original(...args);
        },
      });
    }
    syncBuiltinESMExports();
  }
  function restore(): void {
    Object.assign(fs, originals);
    syncBuiltinESMExports();
  }
  watch();
  try {
    step();
  } finally {
    restore();
  }
  look();
  restore();
  return moments;
}

const STEPS: readonly (readonly [name: string, step: (ca: OwnCa) => void])[] = [
  ["prepare", (ca) => void ca.prepare()],
  ["activate", (ca) => ca.activate(ca.toActivate(""))],
  ["taint", (ca) => ca.taint(ca.toTaint(""))],
  ["revoke", (ca) => ca.revoke(ca.toRevoke(""))],
];

for (const [index, [name, step]] of STEPS.entries()) {
  test(`whenever a process that has to ${name} an authority ends, the next one finds the step done or not begun, and can go on`, (t) => {
    const folder = join(tempFolder(t), "ca");
    const ca = open(folder);
    for (const [, earlier] of STEPS.slice(0, index)) earlier(ca);
    const before = statesOf(ca);
    const moments = momentsOf(t, folder, () => step(ca));
    const after = statesOf(ca);
    const found = moments.map((moment) => {
      const next = open(moment);
      const states = statesOf(next);
      const roots = parseCertificates(readFileSync(join(moment, "root-cert.pem"), "utf8")).map(authorityId);
      assert.deepEqual(
        roots,
        next.authorities.map(({ id }) => id),
      );
      assert.equal(next.current.roots.length, roots.length);
      if (states === before) step(next);
      const keys = readdirSync(moment).filter((file) => /^ca-key.*\.pem$/.test(file));
      assert.deepEqual(keys.toSorted(), next.authorities.map(({ keyFile }) => keyFile).toSorted());
      return states === before ? "not begun" : states;
    });
    assert.deepEqual([...new Set(found)], ["not begun", after]);
    assert.ok(moments.length > 5);
  });
}
