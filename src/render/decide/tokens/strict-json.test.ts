import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseStrictObject } from "./strict-json.ts";

const parse = (text: string) => parseStrictObject(Buffer.from(text));

describe("JSON with one meaning", () => {
  for (const text of [
    '{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}',
    '{"a":"{\\"b\\":1,\\"b\\":2}"}',
    '{"a":["a","a"],"b":"a"}',
    "{}",
    '{"":1," ":2}',
  ])
    it(`takes \`${text}\``, () => assert.deepEqual(parse(text), JSON.parse(text)));

  const refused = [
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}',
    '{"x":{"a":1,"a":2}}',
    '{"x":[{"a":1,"b":2,"a":3}]}',
    "[]",
    "null",
    '"a"',
    "5",
    "",
    "{",
    "{'a':1}",
    "{a:1}",
    '{"a":1}x',
    "\ufeff{}",
    '{"a":NaN}',
  ];
  for (const text of refused) it(`refuses \`${text}\``, () => assert.equal(parse(text), undefined));

  it("refuses what is nested too deep, and bytes that are no UTF-8", () => {
    assert.equal(parse(`{"a":${"[".repeat(100)}${"]".repeat(100)}}`), undefined);
    assert.notEqual(parse(`{"a":${"[".repeat(99)}${"]".repeat(99)}}`), undefined);
    assert.equal(parseStrictObject(Buffer.from('{"a":"\xff"}', "latin1")), undefined);
  });
});
