/** A command of the CLI as data: its help page and its parser follow from the same table. */
import { parseArgs } from "node:util";
import { AppError } from "../core/error.ts";
import type { ExitCode } from "./exit.ts";

export interface OptionSpec {
  /** `flag` takes no value; `many` may be given several times. */
  readonly type: "flag" | "value" | "many";
  /** One letter that stands for it: `f` for `-f`. */
  readonly short?: string;
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly doc: string;
  readonly default?: string;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

export interface ParsedArguments {
  readonly positionals: readonly string[];
  /** What stands after `--`. */
  readonly rest: readonly string[];
  /** True where the flag was given. */
  flag(name: string): boolean;
  /** The value given, or the default. */
  value(name: string): string | undefined;
  values(name: string): readonly string[];
}

export interface Command {
  /** As typed: `audit`, `ca list`. */
  readonly name: string;
  readonly summary: string;
  /** What follows the options in the usage line: `FOLDER`, `[-- CMD…]`. */
  readonly operands?: string;
  /** How many positionals are taken, at least and at most. */
  readonly arity?: readonly [number, number];
  readonly options: OptionSpecs;
  readonly examples: readonly string[];
  run(parsed: ParsedArguments): Promise<ExitCode>;
}

function usageError(command: Command, message: string): AppError {
  return new AppError("invalid-argument", message, { help: `see \`garrison ${command.name} --help\`` });
}

type ParserOption = { readonly type: "boolean" | "string"; readonly multiple: boolean; readonly short?: string };

function toParserOptions(options: OptionSpecs): Record<string, ParserOption> {
  const entries = Object.entries(options).map(([name, { type, short }]): [string, ParserOption] => [
    name,
    { type: type === "flag" ? "boolean" : "string", multiple: type === "many", ...(short === undefined ? {} : { short }) },
  ]);
  return Object.fromEntries(entries);
}

/** `--limit -1` as `--limit=-1`: a number is a value, though it begins like an option. Options themselves never begin with a digit. */
function withNegatives({ options }: Command, argv: readonly string[]): string[] {
  const joined: string[] = [];
  for (const text of argv) {
    const last = joined.at(-1) ?? "";
    const [, long, short] = /^--([a-z-]+)$|^-([a-z])$/.exec(last) ?? [];
    const named = Object.entries(options).find(([name, spec]) => name === long || (short !== undefined && spec.short === short));
    if (named !== undefined && named[1].type !== "flag" && /^-\d/.test(text)) joined[joined.length - 1] = `--${named[0]}=${text}`;
    else joined.push(text);
  }
  return joined;
}

/** The command line of one command. Throws `invalid-argument` naming what is wrong. */
export function parseCommandLine(command: Command, argv: readonly string[]): ParsedArguments {
  const dashes = argv.indexOf("--");
  const rest = dashes < 0 ? [] : argv.slice(dashes + 1);
  const own = dashes < 0 ? [...argv] : argv.slice(0, dashes);
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({
      args: withNegatives(command, own),
      options: toParserOptions(command.options),
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    const [message = ""] = (error instanceof Error ? error.message : String(error)).split(". ");
    throw usageError(command, message.charAt(0).toLowerCase() + message.slice(1));
  }
  const [least, most] = command.arity ?? [0, 0];
  if (parsed.positionals.length < least)
    throw usageError(command, `\`garrison ${command.name}\` needs ${command.operands ?? "an argument"}`);
  if (parsed.positionals.length > most) throw usageError(command, `unexpected argument \`${parsed.positionals[most]}\``);
  const given = parsed.values;
  return {
    positionals: parsed.positionals,
    rest,
    flag: (name) => given[name] === true,
    value: (name) => {
      const value = given[name];
      return typeof value === "string" ? value : command.options[name]?.default;
    },
    values: (name) => {
      const value = given[name];
      return Array.isArray(value) ? value.map(String) : [];
    },
  };
}

function optionLine([name, spec]: readonly [string, OptionSpec]): readonly [string, string] {
  const value = spec.type === "flag" ? "" : ` ${spec.value ?? "VALUE"}`;
  const fallback = spec.default === undefined ? "" : ` (default: ${spec.default})`;
  const short = spec.short === undefined ? "" : `-${spec.short}, `;
  return [`${short}--${name}${value}`, `${spec.doc}${fallback}`];
}

/** Two columns, the first as wide as its widest cell. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(0, ...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join("\n");
}

/** The page that `--help` prints. */
export function formatHelp(command: Command): string {
  const options = Object.entries(command.options);
  const usage = ["garrison", command.name, options.length > 0 ? "[OPTIONS]" : "", command.operands ?? ""]
    .filter((part) => part !== "")
    .join(" ");
  const sections = [`${command.summary}\n\nUsage: ${usage}`];
  if (options.length > 0) sections.push(`Options:\n${columns(options.map(optionLine))}`);
  sections.push(`Examples:\n${command.examples.map((example) => `  ${example}`).join("\n")}`);
  return `${sections.join("\n\n")}\n`;
}
