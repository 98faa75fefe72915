import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DerReader, TAG } from "./der-reader.ts";
import { element } from "./der-writer.ts";
import { readTime, time } from "./time.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("time() and readTime()", () => {
  const read = (der: Uint8Array) => readTime(new DerReader(der, "time"));
  const written = (tag: number, text: string) => element(tag, Buffer.from(text, "latin1"));

  test("write UTCTime through 2049 and GeneralizedTime from 2050 on, and read both back", () => {
    const last = Date.UTC(2049, 11, 31, 23, 59, 59);
    assert.equal(hex(time(last)), hex(written(TAG.utcTime, "491231235959Z")));
    assert.equal(hex(time(last + 1000)), hex(written(TAG.generalizedTime, "20500101000000Z")));
    assert.equal(read(time(last)), last);
    assert.equal(read(time(last + 1999)), last + 1000);
    assert.equal(read(written(TAG.utcTime, "500101000000Z")), Date.UTC(1950, 0, 1));
  });

  test("refuse offsets, fractions, missing seconds and days that do not exist", () => {
    const refused = [
      [TAG.utcTime, "2611220000Z"],
      [TAG.utcTime, "261122000000+0100"],
      [TAG.generalizedTime, "20261122000000.5Z"],
      [TAG.generalizedTime, "20261122000000"],
      [TAG.utcTime, "260230000000Z"],
      [TAG.generalizedTime, "00501122000000Z"],
      [TAG.generalizedTime, "2026112200000/Z"],
      [TAG.utcTime, "26112200000:Z"],
      [TAG.utcTime, "260022000000Z"],
      [TAG.utcTime, "261322000000Z"],
      [TAG.utcTime, "261122240000Z"],
      [TAG.utcTime, "261122000060Z"],
    ] as const;
    for (const [tag, text] of refused) assert.throws(() => read(written(tag, text)), { name: "AppError", code: "invalid-argument" }, text);
  });
});
