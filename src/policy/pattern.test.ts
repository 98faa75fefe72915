import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { parseIpBlock } from "./ip-block.ts";
import { formatValueMatch, parseStringMatch, type StringMatch, type ValueMatch } from "./pattern.ts";

const CASES: readonly (readonly [text: string, match: StringMatch])[] = [
  ["", { kind: "exact", value: "" }],
  ["a", { kind: "exact", value: "a" }],
  ["*", { kind: "present" }],
  ["a*", { kind: "prefix", value: "a" }],
  ["*a", { kind: "suffix", value: "a" }],
  ["a*b", { kind: "exact", value: "a*b" }],
  ["*a*", { kind: "suffix", value: "a*" }],
  ["**", { kind: "suffix", value: "*" }],
  ["a**", { kind: "prefix", value: "a*" }],
];

describe("parseStringMatch", () => {
  for (const [text, match] of CASES) {
    it(`reads \`${text}\` as ${match.kind}`, () => assert.deepEqual(parseStringMatch(text), match));
  }

  it("leaves every character as it is written: none of them means anything but `*` at an end", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[.+?^${}()|[\]\\*/"'<>&%;`\n]*$/)), (text) => {
        const inner = `.${text}.`;
        assert.deepEqual(parseStringMatch(inner), { kind: "exact", value: inner });
        assert.deepEqual(parseStringMatch(`${inner}*`), { kind: "prefix", value: inner });
        assert.deepEqual(parseStringMatch(`*${inner}`), { kind: "suffix", value: inner });
      }),
    );
  });
});

describe("formatValueMatch", () => {
  it("writes what parseStringMatch has read", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a*]*$/)), (text) => formatValueMatch(parseStringMatch(text)) === text),
    );
  });

  const others: readonly (readonly [ValueMatch, string])[] = [
    [{ kind: "template", text: "/a/{*}", segments: [{ kind: "literal", value: "a" }, { kind: "one" }] }, "/a/{*}"],
    [{ kind: "ip", block: parseIpBlock("10.1.2.3/8") }, "10.1.2.3/8"],
    [{ kind: "port", port: 80 }, "80"],
    [{ kind: "service-account", namespace: "shop", name: "cart" }, "shop/cart"],
  ];
  for (const [match, text] of others) it(`writes a ${match.kind} as \`${text}\``, () => assert.equal(formatValueMatch(match), text));
});
