/** What the pages on asking show is what the commands print. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { garrison } from "./garrison.ts";

const ROOT = join(import.meta.dirname, "..", "..");

/** The fenced blocks of a page in one language. */
function blocksOf(page: string, language: string): readonly string[] {
  const text = readFileSync(join(ROOT, "docs", page), "utf8");
  return [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].flatMap(([, name, block = ""]) => (name === language ? [block] : []));
}

describe("docs/concepts/asking.md", { timeout: 60_000 }, () => {
  const blocks = blocksOf("concepts/asking.md", "text").filter((block) => block.startsWith("$ garrison "));

  test("shows commands of each kind that needs nothing running", () => {
    const words = blocks.map((block) => block.split(" ").slice(1, 4).join(" "));
    assert.deepEqual(words, ["garrison authz check", "garrison authz explain", "garrison authz explain"]);
  });

  for (const block of blocks) {
    const [line = "", ...output] = block.split("\n");
    test(line.slice(2), async () => {
      const { stdout } = await garrison(line.split(" ").slice(2), { cwd: ROOT });
      assert.equal(stdout, output.join("\n"));
    });
  }
});

describe("docs/reference/authz-test.md", { timeout: 60_000 }, () => {
  test("shows a test file that comes out as expected on the photo example", async (t) => {
    const [example = ""] = blocksOf("reference/authz-test.md", "yaml");
    const folder = mkdtempSync(join(tmpdir(), "garrison-docs-"));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, "tests.yaml"), example);
    const { exit, stdout } = await garrison(["authz", "test", join(folder, "tests.yaml"), "-f", "examples/photo/mesh"], { cwd: ROOT });
    assert.deepEqual([exit, stdout], [0, "3 as expected, 0 not\n"]);
  });
});
