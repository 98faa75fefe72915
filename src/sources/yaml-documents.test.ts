import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { formatDiagnostic } from "../core/diagnostic.ts";
import { childOf, type RawNode } from "../policy/decode/raw-node.ts";
import { parseYamlDocuments } from "./yaml-documents.ts";

/** The plain value of a tree. */
function plain(node: RawNode): unknown {
  if (node.kind === "list") return node.items.map(plain);
  if (node.kind === "map") return Object.fromEntries(node.entries.map(({ key, value }) => [key, plain(value)]));
  return node.kind === "scalar" ? node.value : `unusable: ${node.reason}`;
}

function values(text: string): readonly unknown[] {
  const { documents, diagnostic } = parseYamlDocuments(text, "f.yaml");
  assert.equal(diagnostic, undefined);
  return documents.map(plain);
}

function problem(text: string): string {
  const { documents, diagnostic } = parseYamlDocuments(text, "f.yaml");
  assert.deepEqual(documents, []);
  assert.ok(diagnostic, "the file is refused");
  return formatDiagnostic(diagnostic);
}

describe("parseYamlDocuments", () => {
  it("reads each document of a file", () =>
    assert.deepEqual(values("a: 1\n---\n- x\n- true\n---\nb: ~\n"), [{ a: 1 }, ["x", true], { b: null }]));
  it("reads no document out of an empty file", () => assert.deepEqual(values(""), []));
  it("reads no document out of comments and separators", () => assert.deepEqual(values("# only\n---\n# comments\n---\n...\n"), []));
  it("reads JSON", () => assert.deepEqual(values('{"a": [1, "b", null]}'), [{ a: [1, "b", null] }]));
  it("reads a text of several lines", () => assert.deepEqual(values("a: |\n  x\n  y\n"), [{ a: "x\ny\n" }]));
  it("reads whole numbers as keys", () => assert.deepEqual(values("8080: a\n0x10: b\n"), [{ 8080: "a", 16: "b" }]));
  it("reads Windows' ends of lines", () => assert.deepEqual(values("a: 1\r\nb: 2\r\n"), [{ a: 1, b: 2 }]));

  it("gives each key and value its place, in each document", () => {
    const { documents } = parseYamlDocuments("a: 1\n---\nb:\n  - {c: d}\n", "f.yaml");
    const [first, second] = documents;
    assert.equal(first?.kind === "map" && first.entries[0]?.value.place.column, 4);
    assert.deepEqual(second?.place, { file: "f.yaml", line: 3, column: 1 });
    const list = childOf(second, "b");
    assert.deepEqual(list?.place, { file: "f.yaml", line: 4, column: 3 });
    const item = list?.kind === "list" ? list.items[0] : undefined;
    assert.deepEqual(childOf(item, "c")?.place, { file: "f.yaml", line: 4, column: 9 });
    assert.deepEqual(item?.kind === "map" && item.entries[0]?.place, { file: "f.yaml", line: 4, column: 6 });
  });

  it("gives an empty value the place behind its key", () => {
    const [document] = parseYamlDocuments("a:\nb: 1\n", "f.yaml").documents;
    assert.deepEqual(childOf(document, "a")?.place, { file: "f.yaml", line: 1, column: 3 });
  });

  const REFUSED: readonly (readonly [why: string, text: string, told: RegExp])[] = [
    ["an unclosed list", "a: [1, 2\n", /^f\.yaml:2:1: error GAR0001: the file is not YAML: flow sequence/],
    ["wrong indentation", "a: 1\n b: 2\n", /^f\.yaml:\d:\d: error GAR0001: the file is not YAML: /],
    ["a tab as indentation", "a:\n\tb: 1\n", /^f\.yaml:2:1: error GAR0001: the file is not YAML: tabs/],
    ["an error in a later document", "a: 1\n---\nb: [\n", /^f\.yaml:4:1: error GAR0001: /],
    [
      "a key that comes twice",
      "a:\n  b: 1\n  c: 2\n  b: 3\n",
      /^f\.yaml:4:3: error GAR0001: the key `b` comes twice\n {2}help: the first one is in line 2$/,
    ],
    ["a key that comes twice in two spellings", 'b: 1\n"b": 2\n', /^f\.yaml:2:1: error GAR0001: the key `b` comes twice/],
    ["a key that comes twice as number and string", '80: 1\n"80": 2\n', /^f\.yaml:2:1: error GAR0001: the key `80` comes twice/],
    ["a map as a key", "? {a: b}\n: c\n", /^f\.yaml:1:3: error GAR0001: a key is not a string/],
    ["a list as a key", "[a, b]: c\n", /^f\.yaml:1:1: error GAR0001: a key is not a string/],
    ["nothing as a key", ": c\n", /^f\.yaml:1:1: error GAR0001: a key is not a string/],
    ["true as a key", "true: c\n", /^f\.yaml:1:1: error GAR0001: the key `true` is not a string: Kubernetes reads it as true or false/],
    [
      "a key that Kubernetes reads as true",
      "{x: 1, y: 2}\n",
      /^f\.yaml:1:8: error GAR0001: the key `y` is not a string: Kubernetes reads it as true or false\n {2}help: write it in quotes: `"y"`/,
    ],
    [
      "a key that Kubernetes reads as another number",
      "0100: c\n",
      /^f\.yaml:1:1: error GAR0001: the key `0100` is not a string: Kubernetes reads it as an octal number/,
    ],
    ["a fraction as a key", "1.5: c\n", /^f\.yaml:1:1: error GAR0001: a key is not a string/],
    ["a tagged key", "!!str a: c\n", /^f\.yaml:1:\d+: error GAR0001: a key is not a string/],
    ["an alias as a key", "a: &x b\n*x : c\n", /^f\.yaml:2:1: error GAR0001: a key is not a string/],
    ["an alias without an anchor", "a: *x\n", /GAR0001: .*(anchor|alias)/],
    ["an alias of another document's anchor", "a: &x 1\n---\nb: *x\n", /GAR0001: .*(anchor|alias)/],
    ["an alias within its own anchor", "a: &x [*x]\n", /GAR0001: .*(anchor|alias)/],
    ["a YAML directive", "%YAML 1.1\n---\na: yes\n", /^f\.yaml:1:1: error GAR0001: directives are not supported/],
    ["deep nesting", `a: ${"[".repeat(70)}${"]".repeat(70)}\n`, /GAR0009: values are nested deeper than 64 levels/],
    [
      "aliases that nest deeply",
      Array.from({ length: 20 }, (_, index) => `a${index}: &a${index} [[[[${index === 0 ? "x" : `*a${index - 1}`}]]]]`).join("\n"),
      /^f\.yaml:16:\d+: error GAR0009: values are nested deeper than 64 levels/,
    ],
    ["nesting deeper than any stack", "[".repeat(100_000), /GAR0009: values are nested deeper than 64 levels/],
    ["keys nested deeper than any stack", "? ".repeat(100_000), /GAR0009: values are nested deeper than 64 levels/],
    [
      "more documents than the limit",
      "a: 1\n---\n".repeat(10_001),
      /^f\.yaml:20001:1: error GAR0009: the file has more than 10000 documents/,
    ],
  ];
  for (const [why, text, told] of REFUSED) it(`refuses ${why}`, () => assert.match(problem(text), told));

  it("takes nesting up to the limit", () => assert.equal(values(`${"[".repeat(64)}${"]".repeat(64)}`).length, 1));

  it("does not print what would move a cursor", () => {
    assert.match(problem('"\\e\\u202e": 1\n"\\e\\u202e": 2\n'), /the key `\\u\{1b\}\\u\{202e\}` comes twice/);
  });

  it("takes an alias for what it stands for", () =>
    assert.deepEqual(values("a: &x {b: [1]}\nc: *x\nd: [*x]\n"), [{ a: { b: [1] }, c: { b: [1] }, d: [{ b: [1] }] }]));

  it("takes the last anchor of a name before the alias", () => assert.deepEqual(values("- &x 1\n- *x\n- &x 2\n- *x\n"), [[1, 1, 2, 2]]));

  it("refuses aliases of aliases that stand for more than the limit, at once", () => {
    const levels = Array.from(
      { length: 30 },
      (_, index) =>
        `l${index}: &l${index} [${Array(10)
          .fill(index === 0 ? "x" : `*l${index - 1}`)
          .join(", ")}]`,
    );
    assert.match(problem(levels.join("\n")), /GAR0009: the file has more than 500000 values\n {2}help: split it, or use fewer aliases/);
  });

  it("reads very many keys of one map in a time that grows with their number", () => {
    const text = Array.from({ length: 30_000 }, (_, index) => `k${index}: v`).join("\n");
    assert.equal(parseYamlDocuments(text, "f.yaml").documents.length, 1);
  });

  it("makes tags and ambiguous values unusable, and leaves the rest", () => {
    assert.deepEqual(values("a: !!str 5\nb: !x {c: d}\ne: on\nf: 'on'\ng: 017\nh: 17\n"), [
      {
        a: "unusable: has a tag: `tag:yaml.org,2002:str`",
        b: "unusable: has a tag: `!x`",
        e: "unusable: is `on`, which Kubernetes reads as true or false and YAML 1.2 does not",
        f: "on",
        g: "unusable: is `017`, which Kubernetes reads as an octal number and YAML 1.2 does not",
        h: 17,
      },
    ]);
  });

  it("reads what JSON.stringify writes", () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ maxDepth: 4 }).filter((value) => value !== null),
        (value) => {
          // JSON itself has no negative zero.
          const expected: unknown = JSON.parse(JSON.stringify(value));
          assert.deepEqual(values(JSON.stringify(value)), [expected]);
        },
      ),
    );
  });

  it("never throws, whatever the text", () => {
    const pieces = fc.constantFrom(
      "a",
      ": ",
      "\n",
      "  ",
      "- ",
      "[",
      "]",
      "{",
      "}",
      "&x ",
      "*x",
      "!t ",
      "|\n",
      "> ",
      "'",
      '"',
      "#",
      "---\n",
      "...",
      "%YAML 1.2\n",
      "? ",
      ",",
      "\t",
      "\u0000",
      "é",
      "<<",
      "~",
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(pieces, { maxLength: 40 }).map((parts) => parts.join("")),
        ),
        (text) => {
          const { documents, diagnostic } = parseYamlDocuments(text, "f.yaml");
          assert.ok(diagnostic === undefined || documents.length === 0);
          assert.ok(diagnostic === undefined || (diagnostic.place.line >= 1 && diagnostic.place.column >= 1));
        },
      ),
      { numRuns: 1000 },
    );
  });
});

/** What the text under the key `mesh` says as YAML. */
function embedded(text: string): RawNode | undefined {
  const { documents, diagnostic } = parseYamlDocuments(text, "f.yaml");
  assert.equal(diagnostic, undefined);
  const [document] = documents;
  const node = childOf(document, "mesh");
  return node?.kind === "scalar" ? node.embedded : undefined;
}

/** Where its value `b` stands. */
function placeOfB(text: string): string {
  const node = childOf(embedded(text), "b");
  assert.ok(node);
  return `${node.place.line}:${node.place.column}`;
}

describe("YAML within a string", () => {
  it("has the places of its block, whatever its indentation, its header and the ends of lines", () => {
    assert.equal(placeOfB("mesh: |\n  a: 1\n  b: 2\n"), "3:6");
    assert.equal(placeOfB("mesh: |-\n      a: 1\n\n      b: 2"), "4:10");
    assert.equal(placeOfB("mesh: | # a comment\n\n\n  # another\n  a: {\n    c: 1 }\n  b: 2\n"), "7:6");
    assert.equal(placeOfB("mesh: |2\n    b: 2\n"), "2:8");
    assert.equal(placeOfB("mesh: |+\r\n  a: 1\r\n  b: 2\r\n\r\n"), "3:6");
    assert.equal(placeOfB("# a comment\nx:\n  z: 1\nmesh: |\n  b: 2\n"), "5:6");
  });

  it("has the place of its string where lines are folded or quoted", () => {
    assert.equal(placeOfB("mesh: >\n  a: 1\n\n  b: 2\n"), "1:7");
    assert.equal(placeOfB('mesh: "a: 1\\nb: 2"\n'), "1:7");
    assert.equal(placeOfB("mesh: 'b: 2'\n"), "1:7");
  });

  it("is read under its keys only, once, and not where an alias stands for it", () => {
    assert.deepEqual(
      parseYamlDocuments("other: |\n  b: 1\n", "f.yaml").documents.map((node) => childOf(node, "other")),
      [{ kind: "scalar", value: "b: 1\n", place: { file: "f.yaml", line: 1, column: 8 } }],
    );
    assert.equal(embedded("x: &text |\n  b: 1\nmesh: *text\n"), undefined);
    const within = childOf(embedded("mesh: |\n  mesh: 'b: 1'\n"), "mesh");
    assert.deepEqual(within, { kind: "scalar", value: "b: 1", place: { file: "f.yaml", line: 2, column: 9 } });
  });

  it("that is none harms nothing but who reads it", () => {
    for (const [text, reason] of [
      ["[", /^cannot be read: the text is not YAML: /],
      ["a: 1\n  ---\n  b: 1", /^holds several documents$/],
      ["a: 1\n  a: 2", /^cannot be read: the key `a` comes twice$/],
    ] as const) {
      const node = embedded(`mesh: |\n  ${text}\n`);
      assert.match(node?.kind === "unusable" ? node.reason : "", reason);
    }
  });

  it("counts among the values of its file", () => {
    const bomb = [
      "a: &a [1,1,1,1,1,1,1,1,1,1]",
      ...["b", "c", "d", "e"].map((name, at) => `${name}: &${name} [${Array(10).fill(`*${"abcd"[at]}`)}]`),
    ];
    const lines = bomb.map((line) => `  ${line}\n`).join("");
    const files = Array.from({ length: 8 }, () => `mesh: |\n${lines}`).join("---\n");
    const { documents } = parseYamlDocuments(files, "f.yaml");
    const last = childOf(documents.at(-1), "mesh");
    assert.deepEqual(documents.length, 0, JSON.stringify(last));
  });
});
