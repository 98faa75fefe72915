import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Command, formatHelp, parseCommandLine } from "./command.ts";

const COMMAND: Command = {
  name: "try",
  summary: "Tries.",
  operands: "FOLDER",
  arity: [1, 1],
  options: {
    verbose: { type: "flag", doc: "say more" },
    port: { type: "value", value: "N", doc: "the port", default: "80" },
    label: { type: "many", value: "K=V", doc: "a label" },
  },
  examples: ["garrison try x"],
  run: async () => 0,
};

describe("parseCommandLine", () => {
  it("reads flags, values, repeated values, positionals and what follows `--`", () => {
    const parsed = parseCommandLine(COMMAND, [
      "folder",
      "--verbose",
      "--port",
      "81",
      "--label",
      "a=b",
      "--label=c=d",
      "--",
      "node",
      "--port",
      "9",
    ]);
    assert.deepEqual(
      [parsed.positionals, parsed.flag("verbose"), parsed.value("port"), parsed.values("label"), parsed.rest],
      [["folder"], true, "81", ["a=b", "c=d"], ["node", "--port", "9"]],
    );
  });

  it("takes the default of an option that is not given", () => {
    assert.equal(parseCommandLine(COMMAND, ["folder"]).value("port"), "80");
  });

  it("takes one letter for an option that has one, and the help shows it", () => {
    const command: Command = { ...COMMAND, options: { folder: { type: "value", short: "f", value: "FOLDER", doc: "a folder" } } };
    assert.equal(parseCommandLine(command, ["x", "-f", "mesh"]).value("folder"), "mesh");
    assert.match(formatHelp(command), /\n {2}-f, --folder FOLDER {2}a folder\n/);
  });

  it("takes a negative number for a value, whose meaning is the option's own affair", () => {
    assert.equal(parseCommandLine(COMMAND, ["folder", "--port", "-1"]).value("port"), "-1");
    assert.throws(() => parseCommandLine(COMMAND, ["folder", "--verbose", "-1"]), { code: "invalid-argument" });
  });

  for (const [what, argv, message] of [
    ["an unknown option", ["folder", "--prot", "1"], /unknown option '--prot'/],
    ["a value that is missing", ["folder", "--port"], /'--port <value>' argument missing/],
    ["a missing operand", [], /needs FOLDER/],
    ["an operand too many", ["folder", "more"], /unexpected argument `more`/],
  ] as const) {
    it(`refuses ${what} and points to the help`, () => {
      assert.throws(() => parseCommandLine(COMMAND, argv), { code: "invalid-argument", message, help: "see `garrison try --help`" });
    });
  }
});

describe("formatHelp", () => {
  it("shows usage, each option with its default, and examples", () => {
    assert.equal(
      formatHelp(COMMAND),
      "Tries.\n\nUsage: garrison try [OPTIONS] FOLDER\n\nOptions:\n  --verbose    say more\n  --port N     the port (default: 80)\n  --label K=V  a label\n\nExamples:\n  garrison try x\n",
    );
  });
});
