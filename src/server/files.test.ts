import assert from "node:assert/strict";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { readControlPlaneFile, recordsFolder } from "./files.ts";

/** As somebody who may not enter the folder: for the superuser no mode counts. */
function asAnother(run: () => void): void {
  const isSuperuser = process.geteuid?.() === 0;
  if (isSuperuser) process.seteuid?.(65_534);
  try {
    run();
  } finally {
    if (isSuperuser) process.seteuid?.(0);
  }
}

test("a state folder of somebody else is told as one, and not as one where nothing has run", (t) => {
  const parent = tempFolder(t);
  chmodSync(parent, 0o755);
  const folder = join(parent, "state");
  mkdirSync(folder, { mode: 0o700 });
  if (process.geteuid?.() !== 0) chmodSync(folder, 0o600);
  asAnother(() => {
    const told = { code: "permission-denied", where: folder, message: /^this user \(\d+\) may not enter the state folder$/ };
    assert.throws(() => readControlPlaneFile(folder), told);
    assert.throws(() => recordsFolder(folder), told);
  });
  chmodSync(folder, 0o700);
  assert.throws(() => readControlPlaneFile(folder), { code: "unavailable", message: "no control plane has run with this state folder" });
  assert.equal(recordsFolder(folder), folder);
});
