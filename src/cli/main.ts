/** The entry point: finds the command, runs it, and turns what it throws into words and an exit code. */
import { AppError, formatError } from "../core/error.ts";
import { type Command, columns, formatHelp, parseCommandLine } from "./command.ts";
import { EXIT, type ExitCode, exitCodeOf } from "./exit.ts";

interface CommandEntry {
  readonly summary: string;
  readonly load: () => Promise<{ readonly command: Command }>;
}

/** Every command; each is loaded alone, so that an agent carries nothing that it does not use. */
const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  demo: { summary: "run the photo example, secured, and try everything on it", load: () => import("./demo.ts") },
  up: { summary: "run a folder of YAML on this machine: control plane, agents, proxies", load: () => import("./up.ts") },
  serve: { summary: "run the control plane", load: () => import("./serve.ts") },
  run: { summary: "run a workload: agent, proxy and the application's command", load: () => import("./run.ts") },
  check: { summary: "check a folder of YAML with nothing running", load: () => import("./check.ts") },
  status: { summary: "show workloads, proxies and policies of a running control plane", load: () => import("./status.ts") },
  audit: { summary: "list and follow decisions: who did what, when, and which rule said so", load: () => import("./audit.ts") },
  token: { summary: "make a service-account token for a workload", load: () => import("./token.ts") },
  proxy: { summary: "run the embedded proxy (the agent starts it)", load: () => import("./proxy.ts") },
};

function overview(): string {
  const rows = Object.entries(COMMANDS).map(([name, { summary }]) => [name, summary] as const);
  return `garrison: workload identity, mutual TLS, authorization and auditing for services\n\nUsage: garrison COMMAND [OPTIONS]\n\nCommands:\n${columns(rows)}\n\nSee \`garrison COMMAND --help\`.\n`;
}

async function main(argv: readonly string[]): Promise<ExitCode> {
  const [name, ...rest] = argv;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    process.stdout.write(overview());
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  if (name === "--version") {
    process.stdout.write(`garrison ${(await import("./version.ts")).version()}\n`);
    return EXIT.ok;
  }
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (entry === undefined) throw new AppError("invalid-argument", `there is no command \`${name}\``, { help: "see `garrison --help`" });
  const { command } = await entry.load();
  const dashes = rest.indexOf("--");
  const own = dashes < 0 ? rest : rest.slice(0, dashes);
  if (own.includes("--help") || own.includes("-h")) {
    process.stdout.write(formatHelp(command));
    return EXIT.ok;
  }
  return command.run(parseCommandLine(command, rest));
}

/** What a command left open must not keep the process: it has said that it is done. */
const GRACE_MS = 2000;

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (thrown) {
  const error = AppError.from(thrown);
  const trace = error.code === "internal" && error.cause instanceof Error ? `\n${error.cause.stack}` : "";
  process.stderr.write(`garrison: ${formatError(error)}${trace}\n`);
  process.exitCode = exitCodeOf(error.code);
}
setTimeout(() => process.exit(), GRACE_MS).unref();
