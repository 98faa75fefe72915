import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readingOfYaml11 } from "./plain-scalar.ts";

describe("readingOfYaml11", () => {
  for (const source of ["y", "N", "yes", "No", "ON", "off"])
    it(`tells that \`${source}\` is a boolean`, () => assert.equal(readingOfYaml11(source), "true or false"));
  for (const source of ["0100", "00", "-07", "+010", "0_7"])
    it(`tells that \`${source}\` is octal`, () => assert.equal(readingOfYaml11(source), "an octal number"));
  for (const source of ["1_000", "0b11", "-1_0"])
    it(`tells that \`${source}\` is a number`, () => assert.equal(readingOfYaml11(source), "a number"));

  for (const source of [
    "",
    "0",
    "-0",
    "10",
    "0x1F",
    "0o17",
    "1e3",
    "0.5",
    "true",
    "null",
    "~",
    "yess",
    "oN",
    "10.0.0.0/8",
    "a_b",
    "v0100",
    "12:30",
  ]) {
    it(`has nothing to tell of \`${source}\``, () => assert.equal(readingOfYaml11(source), undefined));
  }
});
