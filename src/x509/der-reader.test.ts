import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DerReader, openDer, TAG } from "./der-reader.ts";

function refuses(hex: string, message: RegExp): void {
  assert.throws(() => openDer(Buffer.from(hex, "hex"), "thing"), { name: "AppError", code: "invalid-argument", message });
}

function nested(depth: number): Buffer {
  let der = Buffer.from([0x05, 0x00]);
  for (let i = 0; i < depth; i++) {
    const header = der.length < 0x80 ? [0x30, der.length] : [0x30, 0x81, der.length];
    der = Buffer.concat([Buffer.from(header), der]);
  }
  return der;
}

describe("openDer()", () => {
  test("refuses lengths that are indefinite, not minimal, too long, or past the end", () => {
    refuses("30800500000000", /indefinite length/);
    refuses("3081020500", /not minimal/);
    refuses("308200020500", /not minimal/);
    refuses("3083000002", /not minimal/);
    refuses("308400000002", /too long/);
    refuses("30ff", /too long/);
    refuses("3082", /ends too early/);
    refuses("30030500", /ends too early/);
    refuses("30", /ends too early/);
    refuses("", /empty/);
  });

  test("refuses what nests deeper than any certificate and takes what does not", () => {
    assert.throws(() => openDer(nested(17), "thing"), { code: "invalid-argument", message: /nested deeper than 16/ });
    assert.throws(() => openDer(nested(90), "thing"), { code: "invalid-argument", message: /nested deeper than 16/ });
    assert.equal(openDer(nested(16), "thing").peek(), TAG.sequence);
  });

  test("refuses values that DER writes in one way only", () => {
    refuses("0200", /tag 2 that is not strict/);
    refuses("02020001", /tag 2 that is not strict/);
    refuses("0202ff80", /tag 2 that is not strict/);
    refuses("010101", /tag 1 that is not strict/);
    refuses("050100", /tag 5 that is not strict/);
    refuses("030101", /tag 3 that is not strict/);
    refuses("03020801", /tag 3 that is not strict/);
    refuses("03020101", /tag 3 that is not strict/);
    refuses("06028001", /tag 6 that is not strict/);
    refuses("060181", /tag 6 that is not strict/);
    refuses("0600", /tag 6 that is not strict/);
  });

  test("refuses strings in pieces, tags of several bytes, and end-of-content marks", () => {
    refuses("240404020102", /string in pieces/);
    refuses("1f8101020500", /tag of several bytes/);
    refuses("0000", /tag 0 that is not strict/);
    refuses("1000", /not constructed/);
  });

  test("looks at the elements within elements", () => {
    refuses("3006300402020001", /not strict/);
  });

  test("refuses more than 64 KiB before it reads a byte", () => {
    assert.throws(() => openDer(Buffer.alloc(65537), "thing"), { code: "invalid-argument", message: /larger than 65536 bytes/ });
  });
});

describe("DerReader", () => {
  test("reads elements in order and names the tag that it does not expect", () => {
    const fields = new DerReader(Buffer.from("02010504020102", "hex"), "box");
    assert.deepEqual([...fields.content(TAG.integer)], [5]);
    assert.throws(() => fields.content(TAG.integer), {
      code: "invalid-argument",
      message: "the box has DER tag 4 where 2 belongs (byte 3)",
    });
    assert.deepEqual([...fields.element(TAG.octetString)], [4, 2, 1, 2]);
    assert.throws(() => fields.skip(), { code: "invalid-argument", message: /ends too early/ });
    fields.finish();
  });

  test("does not leave its element", () => {
    const inner = new DerReader(Buffer.from("3003020105020106", "hex"), "box").enter(TAG.sequence);
    inner.skip();
    assert.throws(() => inner.content(TAG.integer), { message: /ends too early/ });
  });

  test("refuses what stands after the last field", () => {
    const reader = new DerReader(Buffer.from("05000500", "hex"), "box");
    reader.skip();
    assert.throws(() => reader.finish(), { code: "invalid-argument", message: /after its last field/ });
  });
});
