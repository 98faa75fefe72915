import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { remoteAddress } from "./remote-address.ts";

/** Lines of the header, how many proxies are trusted, and who the client is; `S` is the connection's other end. */
const CASES: readonly (readonly [readonly string[], number, string])[] = [
  [["192.0.2.1"], 0, "S"],
  [[], 1, "S"],
  [[""], 1, "S"],
  [["192.0.2.1"], 1, "192.0.2.1"],
  [["192.0.2.1, 192.0.2.2"], 1, "192.0.2.2"],
  [["192.0.2.1, 192.0.2.2"], 2, "192.0.2.1"],
  [["192.0.2.1, 192.0.2.2"], 3, "S"],
  [["192.0.2.1", "192.0.2.2"], 2, "192.0.2.1"],
  [["192.0.2.1", ""], 1, "192.0.2.1"],
  [["192.0.2.1,"], 1, "S"],
  [["192.0.2.1,"], 2, "192.0.2.1"],
  [["192.0.2.1,nobody"], 1, "S"],
  [["\t 2001:db8::1 \t"], 1, "2001:db8::1"],
  [["[2001:db8::1]"], 1, "S"],
  [["192.0.2.1:443"], 1, "S"],
];

describe("remoteAddress", () => {
  for (const [lines, trusted, expected] of CASES) {
    it(`with ${trusted} trusted proxies, \`${lines.join("` and `")}\` names ${expected === "S" ? "nobody" : expected}`, () =>
      assert.equal(remoteAddress("S", lines, trusted), expected));
  }
});
