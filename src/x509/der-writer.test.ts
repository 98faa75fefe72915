import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { openDer, TAG } from "./der-reader.ts";
import { element, octetString, unsignedInteger } from "./der-writer.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("element()", () => {
  test("writes each length in the fewest bytes, as the strict reader wants it", () => {
    for (const [length, header] of [
      [0, "0400"],
      [127, "047f"],
      [128, "048180"],
      [255, "0481ff"],
      [256, "04820100"],
      [40000, "04829c40"],
      [65_535, "0482ffff"],
      [65_536, "0483010000"],
      [1_000_000, "04830f4240"],
    ] as const) {
      const der = octetString(Buffer.alloc(length, 1));
      assert.equal(hex(der.subarray(0, header.length / 2)), header);
      assert.equal(openDer(der, "string", 2_000_000).content(TAG.octetString).length, length);
    }
  });

  test("puts its contents one after another", () => {
    assert.equal(hex(element(0x30, Buffer.from("0500", "hex"), Buffer.from("020105", "hex"))), "30050500020105");
  });
});

test("unsignedInteger() stays positive when the highest bit is set", () => {
  assert.equal(hex(unsignedInteger(Buffer.from("80", "hex"))), "02020080");
  assert.equal(hex(unsignedInteger(Buffer.from("7f", "hex"))), "02017f");
});
