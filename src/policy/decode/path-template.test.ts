import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { TemplateSegment } from "../pattern.ts";
import { parsePathTemplate } from "./path-template.ts";

const one: TemplateSegment = { kind: "one" };
const rest: TemplateSegment = { kind: "rest" };
const literal = (value: string): TemplateSegment => ({ kind: "literal", value });

describe("parsePathTemplate", () => {
  const TAKEN: readonly (readonly [path: string, segments: readonly TemplateSegment[]])[] = [
    ["/{*}", [one]],
    ["/{**}", [rest]],
    ["/a/{*}/b", [literal("a"), one, literal("b")]],
    ["/{*}/{*}", [one, one]],
    ["/a/{*}/{**}", [literal("a"), one, rest]],
    ["/a/{**}/b", [literal("a"), rest, literal("b")]],
    ["/a/{**}/", [literal("a"), rest, literal("")]],
    ["/a.b-c_d~e%20!$&'()+,;:@=/{*}", [literal("a.b-c_d~e%20!$&'()+,;:@="), one]],
  ];
  for (const [path, segments] of TAKEN) it(`takes \`${path}\``, () => assert.deepEqual(parsePathTemplate(path), segments));

  const REFUSED: readonly (readonly [path: string, why: string])[] = [
    ["{*}", "does not begin with `/`"],
    ["a/{*}", "does not begin with `/`"],
    ["/{**}/{*}", "has another operator after `{**}`"],
    ["/{**}/a/{**}", "has another operator after `{**}`"],
    ["/{*}/a*", "has a segment that a template cannot have: `a*`"],
    ["/*/{*}", "has a segment that a template cannot have: `*`"],
    ["/{*}a", "has a segment that a template cannot have: `{*}a`"],
    ["/{***}", "has a segment that a template cannot have: `{***}`"],
    ["/{*}//a", "has a segment that a template cannot have: ``"],
    ["/{*}/a?b", "has a segment that a template cannot have: `a?b`"],
    ["/{*}/a#b", "has a segment that a template cannot have: `a#b`"],
    ["/{*}/[a]", "has a segment that a template cannot have: `[a]`"],
    ["/{name=*}", "has a segment that a template cannot have: `{name=*}`"],
  ];
  for (const [path, why] of REFUSED) it(`refuses \`${path}\``, () => assert.equal(parsePathTemplate(path), why));
});
