/** The reference is what the code says. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { decodeObject } from "../../src/policy/decode/decode.ts";
import { observeFields } from "../../tools/reference/observed-fields.ts";
import { REFERENCE_FOLDER, renderReference } from "../../tools/reference/render.ts";
import { rawNode } from "../fixture/raw-node.ts";

const pages = await renderReference();

describe("docs/reference", () => {
  for (const [name, text] of pages) {
    it(`has ${name} as the code has it now (\`npm run reference\` writes it)`, () => {
      const written = readFileSync(join(REFERENCE_FOLDER, name), "utf8").split("\n");
      const lines = text.split("\n");
      const line = Array.from({ length: Math.max(lines.length, written.length) }, (_, index) => index).find(
        (index) => written[index] !== lines[index],
      );
      assert.equal(line, undefined, `line ${line}, from 0, is stale: run \`npm run reference\``);
    });
  }
});

describe("observeFields", () => {
  const entry = { address: "10.1.2.3", serviceAccount: "cart", weight: 2 };
  const node = rawNode({ apiVersion: "networking.istio.io/v1", kind: "WorkloadEntry", metadata: { name: "cart", uid: "x" }, spec: entry });

  it("tells which fields are read, and which of these the object does not show", () => {
    const { read, missing } = observeFields(node);
    assert.ok(read.includes("spec.address"));
    assert.ok(read.includes("spec.ports"));
    assert.ok(!missing.includes("spec.address"));
    assert.ok(missing.includes("spec.ports"));
  });

  it("tells which fields are refused, with what to do instead, and which mean nothing", () => {
    const { refused, accepted, read } = observeFields(node);
    assert.match(refused.get("spec.weight") ?? "", /remove the field/);
    assert.ok(accepted.includes("metadata.uid"));
    assert.ok(!read.includes("spec.weight"));
  });

  it("decodes as decoding does without it, before and after", () => {
    const { diagnostics } = decodeObject(node);
    assert.deepEqual(observeFields(node).decoded.diagnostics, diagnostics);
    assert.deepEqual(decodeObject(node).diagnostics, diagnostics);
    assert.equal(diagnostics.length, 1);
  });
});
