import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { type CaptureOptions, DEFAULT_CAPTURE, parseChoice, parseNumber, parsePorts, parseRanges } from "../capture/options.ts";
import { captureRules, REMOVE_RULES } from "../capture/rules.ts";
import { AppError } from "../core/error.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";

const TIMEOUT_MS = 30_000;
const HIGHEST_ID = 4_294_967_294;
const HIGHEST_PORT = 65_535;

/** Runs a program, never a shell, to its end; `input` is its standard input. */
function run(program: string, args: readonly string[], input: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, [...args], { timeout: TIMEOUT_MS }, (error, _stdout, stderr) => {
      if (error === null) resolve();
      else reject(failure(program, error, stderr));
    });
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
  });
}

function failure(program: string, error: Error & { readonly code?: unknown }, stderr: string): AppError {
  if (error.code === "ENOENT")
    return new AppError("not-found", `there is no \`${program}\` on this machine`, {
      help: `install the package \`${program === "nft" ? "nftables" : "iproute2"}\``,
      cause: error,
    });
  if (/not permitted|denied/i.test(stderr))
    return new AppError("permission-denied", "this process may not change the rules of its network", {
      help: "run it as root, or give the container the capability NET_ADMIN",
      cause: error,
    });
  const [line = ""] = stderr.trim().split("\n");
  return new AppError("unavailable", `the kernel does not take the rules: ${line.slice(0, 300)}`, {
    help: "it needs nftables with NAT (Linux 5.2 or newer)",
    cause: error,
  });
}

/** The proxy's connections to an application that is called by IPv6 come from an address that is nobody's yet. */
async function ownIpv6Source(action: "replace" | "delete"): Promise<void> {
  let disabled = "1";
  try {
    disabled = readFileSync("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "utf8").trim();
  } catch {
    // A kernel without IPv6.
  }
  if (disabled !== "0") return;
  const done = run("ip", ["-6", "address", action, "::6/128", "dev", "lo"], "");
  await (action === "delete" ? done.catch(() => undefined) : done);
}

function optionsOf(parsed: ParsedArguments): CaptureOptions {
  const text = (name: string) => parsed.value(name) ?? "";
  const ports = (name: string) => parsePorts(`--${name}`, text(name));
  const dns = parsed.value("dns-port");
  return {
    proxyUid: parseNumber("--proxy-uid", text("proxy-uid"), 1, HIGHEST_ID),
    includeInboundPorts: parseChoice(parsePorts, "--include-inbound-ports", text("include-inbound-ports")),
    excludeInboundPorts: [...new Set([...DEFAULT_CAPTURE.excludeInboundPorts, ...ports("exclude-inbound-ports")])],
    includeOutboundIPRanges: parseChoice(parseRanges, "--include-outbound-ranges", text("include-outbound-ranges")),
    excludeOutboundIPRanges: parseRanges("--exclude-outbound-ranges", text("exclude-outbound-ranges")),
    includeOutboundPorts: ports("include-outbound-ports"),
    excludeOutboundPorts: ports("exclude-outbound-ports"),
    dnsPort: dns === undefined ? undefined : parseNumber("--dns-port", dns, 1, HIGHEST_PORT),
  };
}

export const command: Command = {
  name: "capture",
  summary:
    "Redirects this network namespace's TCP connections to its proxy: what goes out to port 15001, what comes in to 15006. Needs CAP_NET_ADMIN and `nft`.",
  options: {
    "proxy-uid": { type: "value", value: "UID", doc: "the user of agent and proxy, whose connections are their own", default: "1337" },
    "include-inbound-ports": {
      type: "value",
      value: "PORTS",
      doc: "`*`, or ports with commas between them; empty captures none",
      default: "*",
    },
    "exclude-inbound-ports": {
      type: "value",
      value: "PORTS",
      doc: "ports that peers reach directly; 15021 (probes) always is",
      default: "",
    },
    "include-outbound-ranges": { type: "value", value: "CIDRS", doc: "`*`, or the only destinations that are captured", default: "*" },
    "exclude-outbound-ranges": { type: "value", value: "CIDRS", doc: "destinations that are left alone", default: "" },
    "include-outbound-ports": { type: "value", value: "PORTS", doc: "captured outside the ranges too", default: "" },
    "exclude-outbound-ports": { type: "value", value: "PORTS", doc: "ports that are left alone", default: "" },
    "dns-port": { type: "value", value: "PORT", doc: "send questions to port 53 (UDP and TCP) to this port of loopback" },
    "dry-run": { type: "flag", doc: "print the rules for `nft -f -`, and change nothing" },
    undo: { type: "flag", doc: "remove the rules" },
  },
  examples: [
    "garrison capture",
    "garrison capture --dns-port 15053",
    "garrison capture --exclude-outbound-ranges 10.0.0.0/8 --exclude-inbound-ports 22 --dry-run",
    "garrison capture --undo",
  ],
  run: async (parsed) => {
    const undo = parsed.flag("undo");
    const options = optionsOf(parsed);
    const rules = undo ? REMOVE_RULES : captureRules(options);
    if (parsed.flag("dry-run")) {
      process.stdout.write(rules);
      return EXIT.ok;
    }
    await ownIpv6Source(undo ? "delete" : "replace");
    await run("nft", ["-f", "-"], rules);
    const dns = options.dnsPort === undefined ? "" : `, questions of DNS to port ${options.dnsPort}`;
    process.stdout.write(undo ? "nothing is captured any more\n" : `outgoing TCP goes to port 15001, incoming to port 15006${dns}\n`);
    return EXIT.ok;
  },
};
