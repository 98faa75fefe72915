/** `garrison convert` on every pair of `test/corpus/convert`: what it prints, what it says, and that old and new decide alike. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import fc from "fast-check";
import { assertAlike, FOLDER, MESH, newSide, oldDocuments, PLACES, request } from "./convert-sides.ts";

const CLI = join(import.meta.dirname, "..", "..", "src", "cli", "main.ts");
const PAIRS = readdirSync(FOLDER).flatMap((name) => (name.endsWith(".in.yaml") ? [name.slice(0, -".in.yaml".length)] : []));
/** Set to write what comes out instead of comparing it. */
const isRewriting = process.env.GARRISON_REWRITE === "1";

// === The pairs ===

/** A folder with the pair's input and the mesh that it is about. */
function inputFolder(t: TestContext, name: string): string {
  const folder = mkdtempSync(join(tmpdir(), "convert-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, "old"));
  copyFileSync(join(FOLDER, "mesh.yaml"), join(folder, "old", "mesh.yaml"));
  copyFileSync(join(FOLDER, `${name}.in.yaml`), join(folder, "old", "old.yaml"));
  return folder;
}

/** What Garrison lacks is told too; it is not what a pair is about, and becomes less. */
const LACK = /^(?:# |.*: note: )garrison refuses this object until it supports it: .*\n/gm;

function assertSame(file: string, output: string): void {
  const text = output.replace(LACK, "");
  const path = join(FOLDER, file);
  if (isRewriting) writeFileSync(path, text);
  assert.equal(text, existsSync(path) ? readFileSync(path, "utf8") : "", `${file}: run with GARRISON_REWRITE=1 to write what came out`);
}

function runConvert(
  cwd: string,
  ...argv: readonly string[]
): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  return spawnSync(process.execPath, [CLI, "convert", ...argv], { cwd, encoding: "utf8", timeout: 60_000 });
}

describe("garrison convert", () => {
  for (const name of PAIRS) {
    it(`turns ${name}.in.yaml into ${name}.out.yaml, and says what changed`, (t) => {
      const { status, stdout, stderr } = runConvert(inputFolder(t, name), "old", "--only-converted");
      assertSame(`${name}.out.yaml`, stdout);
      assertSame(`${name}.said.txt`, stderr);
      assert.equal(status, stderr.includes(": error GAR") ? 1 : 0);
    });
  }

  const equal = PAIRS.filter((name) => !name.startsWith("no-equal") && !name.startsWith("jwt-"));
  for (const name of equal) {
    it(`lets through after ${name}.in.yaml what the old objects let through`, () => {
      const text = readFileSync(join(FOLDER, `${name}.in.yaml`), "utf8");
      const [side, old] = [newSide(text), oldDocuments(text)];
      assert.deepEqual(side.errors, []);
      fc.assert(
        fc.property(fc.constantFrom(...PLACES), request, (at, one) => assertAlike(text, side, old, at, one)),
        { numRuns: 2000 },
      );
    });
  }

  it("asks for a token rather too often than too seldom where paths have no equal, and keeps mutual TLS", () => {
    const side = newSide(readFileSync(join(FOLDER, "no-equal-paths.in.yaml"), "utf8"));
    const [web, , , , , , cart] = PLACES;
    const effects = (at = web ?? assert.fail(), from?: string) =>
      ["/health", "/items", "/items/1", "/reviews"].map((path) => {
        const [asked] = fc.sample(request, 1);
        return side.effect(at, { ...(asked ?? assert.fail()), from, path });
      });
    const peer = "spiffe://cluster.local/ns/shop/sa/api";
    assert.deepEqual(effects(web, peer), ["allow", "deny", "deny", "deny"]);
    assert.deepEqual(effects(web), ["refused", "refused", "refused", "refused"]);
    assert.deepEqual(effects(cart, peer), ["deny", "deny", "deny", "allow"]);
    assert.deepEqual(effects(cart), ["deny", "deny", "deny", "allow"]);
  });

  it("writes files of the same names, with other objects as they were, and never over one that exists", (t) => {
    const folder = inputFolder(t, "peers");
    assert.equal(runConvert(folder, "old", "-o", "new").status, 0);
    assert.deepEqual(readdirSync(join(folder, "new")).sort(), ["mesh.yaml", "old.yaml"]);
    assert.equal(readFileSync(join(folder, "new", "mesh.yaml"), "utf8"), MESH);
    const again = runConvert(folder, "old", "-o", "new");
    assert.equal(again.status, 4);
    assert.match(again.stderr, /new\/mesh\.yaml: the file exists already/);
    execFileSync(process.execPath, [CLI, "check", "new"], { cwd: folder });
  });

  it("leaves the comments, the order and the quotes of other objects alone", (t) => {
    const folder = inputFolder(t, "off");
    const other = "# mine\nkind: ConfigMap # and this\nmetadata: {name: 'x'}\napiVersion: v1\n";
    writeFileSync(join(folder, "old", "zz.yaml"), `---\n${other}---\n# last\nkind: Other\n`);
    const { stdout } = runConvert(folder, join("old", "zz.yaml"));
    assert.equal(stdout, `${other}---\n# last\nkind: Other\n`);
  });
});
