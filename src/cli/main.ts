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
  agent: { summary: "run the agent of a workload for a control plane on another machine", load: () => import("./agent.ts") },
  "vm join": { summary: "make this machine a member of a WorkloadGroup", load: () => import("./vm-join.ts") },
  install: { summary: "install the control plane into a Kubernetes cluster", load: () => import("./install.ts") },
  uninstall: { summary: "remove it from there", load: () => import("./uninstall.ts") },
  capture: { summary: "redirect this machine's connections to its proxy", load: () => import("./capture.ts") },
  inject: { summary: "add the agent and Envoy to the pods of Kubernetes manifests", load: () => import("./inject.ts") },
  check: { summary: "check a folder of YAML with nothing running, or a cluster", load: () => import("./check.ts") },
  convert: { summary: "turn Istio's older authentication and RBAC objects into today's kinds", load: () => import("./convert.ts") },
  status: { summary: "show workloads, proxies and policies of a running control plane", load: () => import("./status.ts") },
  "authz check": { summary: "show the policies in force for a workload", load: () => import("./authz-check.ts") },
  "authz explain": { summary: "say what would come of a request, and why", load: () => import("./authz-explain.ts") },
  "authz test": { summary: "check expectations of requests and what comes of them", load: () => import("./authz-test.ts") },
  "mtls status": {
    summary: "show which ports take plaintext, and who still comes without identity",
    load: () => import("./mtls-status.ts"),
  },
  "mtls plan": { summary: "show the order in which namespaces can go STRICT, and what would break", load: () => import("./mtls-plan.ts") },
  audit: { summary: "list and follow decisions: who did what, when, and which rule said so", load: () => import("./audit.ts") },
  "audit show": { summary: "explain one decision of the record", load: () => import("./audit-show.ts") },
  "ca list": { summary: "list certificates and refusals of the ledger", load: () => import("./ca-list.ts") },
  "ca show": { summary: "show one certificate of the ledger", load: () => import("./ca-show.ts") },
  "ca authorities": {
    summary: "show the CA's authorities, their certificates, and who trusts them",
    load: () => import("./ca-authorities.ts"),
  },
  "ca prepare": { summary: "make a new authority that everybody trusts and that signs nothing yet", load: () => import("./ca-prepare.ts") },
  "ca activate": { summary: "let a prepared authority sign from now on", load: () => import("./ca-activate.ts") },
  "ca taint": { summary: "have every certificate of an old authority replaced now", load: () => import("./ca-taint.ts") },
  "ca revoke": {
    summary: "revoke certificates by serial, identity or key, or an authority, on every proxy at once",
    load: () => import("./ca-revoke.ts"),
  },
  "ca unblock": { summary: "let a revoked identity have certificates again", load: () => import("./ca-unblock.ts") },
  "ca revocations": { summary: "show what is revoked, and the signed list", load: () => import("./ca-revocations.ts") },
  "ca prove": { summary: "print the proof that a certificate is in the log", load: () => import("./ca-prove.ts") },
  "ca verify-log": { summary: "check the log of issued certificates, with nothing running", load: () => import("./ca-verify-log.ts") },
  "ca verify-proof": { summary: "check the proof of a certificate, with nothing running", load: () => import("./ca-verify-proof.ts") },
  "ca request": { summary: "print a certificate request for a CA key in a token", load: () => import("./ca-request.ts") },
  clusters: { summary: "show the clusters of the mesh, and how it stands with each", load: () => import("./clusters.ts") },
  "clusters create-remote-secret": {
    summary: "give a control plane elsewhere an account in this cluster, and print the Secret for it",
    load: () => import("./clusters-create-remote-secret.ts"),
  },
  "clusters join": { summary: "have a control plane elsewhere take this cluster in", load: () => import("./clusters-join.ts") },
  "clusters leave": { summary: "take a cluster out of the mesh", load: () => import("./clusters-leave.ts") },
  "federation list": { summary: "show the trust domains that are federated with", load: () => import("./federation-list.ts") },
  "federation bundle": {
    summary: "print this trust domain's bundle, for the operator of another one",
    load: () => import("./federation-bundle.ts"),
  },
  svid: { summary: "show the certificate of the workload beside which it runs", load: () => import("./svid.ts") },
  "svid jwt": { summary: "print a token that names the workload to an audience", load: () => import("./svid-jwt.ts") },
  "svid validate": { summary: "say whose such a token is, if it is good", load: () => import("./svid-validate.ts") },
  token: { summary: "make a service-account token for a workload", load: () => import("./token.ts") },
  "token join": {
    summary: "make a token for one use, with which a workload on another machine joins",
    load: () => import("./token-join.ts"),
  },
  "token rotate": {
    summary: "replace the key that signs service-account tokens",
    load: () => import("./token-rotate.ts"),
  },
  "token list": { summary: "list join tokens and what became of them", load: () => import("./token-list.ts") },
  proxy: { summary: "run the embedded proxy (the agent starts it)", load: () => import("./proxy.ts") },
};

/** The help of all commands, or of those of a group such as `authz`. */
function overview(group?: string): string {
  const own = Object.entries(COMMANDS).filter(([name]) => group === undefined || name === group || name.startsWith(`${group} `));
  const rows = own.map(([name, { summary }]) => [name, summary] as const);
  const usage = group === undefined ? "garrison COMMAND" : `garrison ${group} COMMAND`;
  return `garrison: workload identity, mutual TLS, authorization and auditing for services\n\nUsage: ${usage} [OPTIONS]\n\nCommands:\n${columns(rows)}\n\nSee \`${usage} --help\`.\n`;
}

function isHelp(word: string | undefined): boolean {
  return word === "--help" || word === "-h";
}

/** The command that the words name, by two words or by one, and the words after it. */
function findCommand(argv: readonly string[]): { readonly entry: CommandEntry; readonly rest: readonly string[] } | undefined {
  for (const length of [2, 1]) {
    const name = argv.slice(0, length).join(" ");
    const entry = argv.length >= length && Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
    if (entry !== undefined) return { entry, rest: argv.slice(length) };
  }
  return undefined;
}

/** What to do about words that name no command. */
function unknownCommand([first = "", second]: readonly string[]): AppError {
  const members = Object.keys(COMMANDS).filter((name) => name.startsWith(`${first} `));
  if (members.length === 0) return new AppError("invalid-argument", `there is no command \`${first}\``, { help: "see `garrison --help`" });
  const message = second === undefined ? `\`${first}\` needs a command of its own` : `there is no command \`${first} ${second}\``;
  return new AppError("invalid-argument", message, { help: `it is one of ${members.map((name) => `\`${name}\``).join(", ")}` });
}

async function main(argv: readonly string[]): Promise<ExitCode> {
  const [name, second] = argv;
  if (name === undefined || isHelp(name) || name === "help") {
    process.stdout.write(overview());
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  if (name === "--version") {
    process.stdout.write(`garrison ${(await import("./version.ts")).version()}\n`);
    return EXIT.ok;
  }
  const found = findCommand(argv);
  if (found === undefined) {
    const isGroup = Object.keys(COMMANDS).some((command) => command.startsWith(`${name} `));
    if (!isGroup || !isHelp(second)) throw unknownCommand(argv);
    process.stdout.write(overview(name));
    return EXIT.ok;
  }
  const { entry, rest } = found;
  const { command } = await entry.load();
  const dashes = rest.indexOf("--");
  const own = dashes < 0 ? rest : rest.slice(0, dashes);
  if (own.some(isHelp)) {
    process.stdout.write(formatHelp(command));
    return EXIT.ok;
  }
  return command.run(parseCommandLine(command, rest));
}

/** As a shell says of what SIGPIPE ended: whoever read has closed, and nothing is told of what was not done. */
const READER_GONE = 141;

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(process.exitCode ?? READER_GONE);
});

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
