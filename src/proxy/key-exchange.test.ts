import assert from "node:assert/strict";
import { test } from "node:test";
import { groupOfSession } from "./key-exchange.ts";

/** Fields of a session, as OpenSSL has them: its version, the protocol's, the time, and the group. */
const CASES: readonly (readonly [what: string, fields: string, group: number | undefined])[] = [
  ["a group of one byte", "020101 02020304 b303 02011d", 0x1d],
  ["a group of two, after fields that are passed over", "020101 a104 02021c20 b304 020211ec", 0x11ec],
  ["no group", "020101 02020304", undefined],
];

for (const [what, fields, group] of CASES)
  test(`a session with ${what}`, () => {
    const content = Buffer.from(fields.replaceAll(" ", ""), "hex");
    assert.equal(groupOfSession(Buffer.concat([Buffer.from([0x30, content.length]), content])), group);
  });

test("what is no session is refused", () => {
  for (const hex of ["", "30", "3003", "020101", "3080"])
    assert.throws(() => groupOfSession(Buffer.from(hex, "hex")), { code: "invalid-argument" }, hex);
});
