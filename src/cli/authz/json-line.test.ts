import assert from "node:assert/strict";
import { it } from "node:test";
import { jsonLine } from "./json-line.ts";

it("writes a value on one line that reads as it was, without raw control or direction characters", () => {
  const value = { text: "a\u001b[2J\u009b\u202e\u2028\n\u{e0001}é" };
  const line = jsonLine(value);
  assert.deepEqual(JSON.parse(line), value);
  assert.doesNotMatch(line.slice(0, -1), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
  assert.ok(line.endsWith("}\n"));
});
