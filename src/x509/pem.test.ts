import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatPem, parseOnlyPem, parsePem } from "./pem.ts";

const der = Buffer.from(Array.from({ length: 100 }, (_, i) => i));
const block = formatPem("CERTIFICATE", der);

function refuses(text: string, message: RegExp): void {
  assert.throws(() => parseOnlyPem(text, "CERTIFICATE"), { name: "AppError", code: "invalid-argument", message });
}

describe("parsePem()", () => {
  test("reads back what formatPem() writes, also with CRLF and white space around", () => {
    assert.deepEqual(parsePem(`\n${block}\r\n${block.replaceAll("\n", "\r\n")}`, "CERTIFICATE"), [der, der]);
    assert.equal(Math.max(...block.split("\n").map((line) => line.length)), 64);
  });

  test("refuses text beside the blocks and blocks of another label", () => {
    refuses(`subject=\n${block}`, /blocks alone/);
    refuses(`${block}trailer`, /blocks alone/);
    refuses(block.replaceAll("CERTIFICATE", "PRIVATE KEY"), /blocks alone/);
    refuses(block.replace("-----END CERTIFICATE-----", ""), /blocks alone/);
  });

  test("refuses base64 that is not canonical", () => {
    refuses(block.replace("AAEC", "AA\u0000C"), /not base64/);
    refuses(block.replace("AAEC", "A EC"), /not base64/);
    refuses(block.replace("Yw==", "Yx=="), /not canonical/);
    refuses(block.replace("Yw==", "Yw="), /not canonical/);
    refuses("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", /not base64/);
  });

  test("bounds the text", () => {
    refuses("A".repeat(256 * 1024 + 1), /longer than 262144/);
  });
});

describe("parseOnlyPem()", () => {
  test("wants exactly one block", () => {
    assert.deepEqual(parseOnlyPem(block, "CERTIFICATE"), der);
    refuses("", /0 blocks where exactly one/);
    refuses(block + block, /2 blocks where exactly one/);
  });
});
