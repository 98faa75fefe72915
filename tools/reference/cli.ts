/** `docs/reference/cli.md`: the help page of every command, and the exit codes. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, formatHelp } from "../../src/cli/command.ts";
import { EXIT } from "../../src/cli/exit.ts";
import { table } from "./markdown.ts";

const CLI = join(import.meta.dirname, "..", "..", "src", "cli");

const EXIT_DOCS = {
  ok: "done, and the answer is yes",
  no: "done, and the answer is no: a check failed, a row was not as expected",
  usage: "the command line is wrong",
  configuration: "the configuration is wrong",
  environment: "something else is in the way: a port in use, a folder that others can read, a control plane that is away",
  unknown: "done, and there is neither a yes nor a no: it hangs on what nobody here knows, such as the answer of an authorizer",
  internal: "a defect of Garrison",
} as const satisfies Record<keyof typeof EXIT, string>;

const ENVIRONMENT = [
  ["`GARRISON_STATE`", "the state folder, where `--state` is not given"],
  [
    "`SPIFFE_ENDPOINT_SOCKET`",
    "the Workload API: where an agent serves it, and where `garrison svid` asks; set for the command of `garrison run`",
  ],
  ["`GARRISON_JOIN_TOKEN`", "the join token, where `--join-token` is not given"],
  ["`ENVOY_PATH`", "the Envoy to run; without it, `envoy` on `PATH`, then the one of `npm run setup:envoy`"],
];

/** The command of a module, if it has one. */
async function commandOf(path: string): Promise<Command | undefined> {
  if (!/^export const command: Command\b/m.test(readFileSync(path, "utf8"))) return undefined;
  const { command } = (await import(path)) as { readonly command: Command };
  return command;
}

function section(command: Command): string {
  return `## garrison ${command.name}\n\n\`\`\`text\n${formatHelp(command).trimEnd()}\n\`\`\``;
}

/** The page. */
export async function cliPage(): Promise<string> {
  const files = globSync("**/*.ts", { cwd: CLI }).filter((file) => !file.endsWith(".test.ts"));
  const found = await Promise.all(files.map((file) => commandOf(join(CLI, file))));
  const commands = found.filter((command) => command !== undefined).sort((left, right) => (left.name < right.name ? -1 : 1));
  const exits = (Object.keys(EXIT_DOCS) as (keyof typeof EXIT_DOCS)[]).map((name) => [String(EXIT[name]), EXIT_DOCS[name]]);
  return `${[
    "# Commands",
    "What `garrison COMMAND --help` prints.",
    ...commands.map(section),
    `## Exit codes\n\n${table(["code", "meaning"], exits)}\n\n\`garrison run\` ends with the exit code of the command that it runs.`,
    `## Environment\n\n${table(["variable", "meaning"], ENVIRONMENT)}`,
  ].join("\n\n")}\n`;
}
