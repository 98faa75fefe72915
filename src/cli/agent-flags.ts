/** What `garrison run` and `garrison agent` share: their options, and the agent's process. */
import { resolve } from "node:path";
import { AGENT_SIGNALS, startAgent } from "../agent/agent.ts";
import type { AgentOptions, ProxyChoice } from "../agent/agent-options.ts";
import { parseAppProbes } from "../agent/app-probes.ts";
import { parseSignal, type RenewalSignal } from "../agent/renewal-signal.ts";
import { parseNumber } from "../capture/options.ts";
import { AppError } from "../core/error.ts";
import { CAPTURE_DNS_PORT } from "../render/envoy/names.ts";
import { garrisonCommand } from "./child.ts";
import type { OptionSpecs, ParsedArguments } from "./command.ts";
import { chooseProxy, PROXY_OPTION } from "./find-envoy.ts";
import { KEY_KIND_OPTION, keyKindOf } from "./key-kind.ts";
import { LOG_OPTION, logLevel, parseHostPort, required } from "./options.ts";
import { onParentEnd } from "./signals.ts";
import { WORKLOAD_API_OPTIONS, workloadApi } from "./workload-api-options.ts";

const HIGHEST_PORT = 65_535;

/** In the order of the help page, between who the workload is and where its state lies. */
export const AGENT_OPTIONS = {
  proxy: { ...PROXY_OPTION, doc: `${PROXY_OPTION.doc}; or none: the identity alone` },
  xds: { type: "value", value: "VARIANT", doc: "how Envoy is served: delta, or sotw (state of the world)", default: "delta" },
  ...WORKLOAD_API_OPTIONS,
  "sds-files": {
    type: "many",
    value: "FOLDER",
    doc: "certificates and roots of this folder may be fetched by the proxy: file-cert:CERT~KEY, file-root:CA",
  },
  "key-kind": KEY_KIND_OPTION,
  "output-certs": {
    type: "value",
    value: "FOLDER",
    doc: "write key.pem, cert-chain.pem and root-cert.pem there at each renewal, and the roots of each trust domain to bundles/DOMAIN.pem; start from them; without, the key is never on disk",
  },
  "renew-signal": { type: "value", value: "SIGNAL", doc: "tell the command of each renewal, such as by SIGHUP" },
  "renew-pid-file": { type: "value", value: "FILE", doc: "send that signal to the process whose number the file holds" },
  "health-listen": {
    type: "value",
    value: "HOST:PORT",
    doc: "answer the node's probes there: /healthz/ready, and the application's by --app-probes",
  },
  "dns-port": {
    type: "value",
    value: "PORT",
    doc: "answer the workload's questions of DNS there, on loopback; without it at 15053 where the workload says `ISTIO_META_DNS_CAPTURE`",
  },
  "resolv-conf": { type: "value", value: "FILE", doc: "the DNS servers for names outside the mesh", default: "/etc/resolv.conf" },
  "app-probes": {
    type: "value",
    value: "JSON",
    doc: "the application's own probes by path, as `garrison inject` writes them",
    default: "{}",
  },
  "log-level": LOG_OPTION,
} as const satisfies OptionSpecs;

async function proxyChoice(parsed: ParsedArguments): Promise<ProxyChoice> {
  if (parsed.value("proxy") === "none") return { kind: "none" };
  const chosen = await chooseProxy(required(parsed, "proxy"));
  if (chosen.kind === "embedded") return { kind: "embedded", command: garrisonCommand("proxy", "--log-level", logLevel(parsed)) };
  const xds = required(parsed, "xds");
  if (xds !== "delta" && xds !== "sotw")
    throw new AppError("invalid-argument", `\`--xds ${xds}\` is not known`, { help: "it is delta or sotw" });
  return { kind: "envoy", path: chosen.path, xds };
}

function renewalSignal(parsed: ParsedArguments): RenewalSignal | undefined {
  const signal = parsed.value("renew-signal");
  const pidFile = parsed.value("renew-pid-file");
  if (signal === undefined) {
    if (pidFile === undefined) return undefined;
    throw new AppError("invalid-argument", "`--renew-pid-file` without `--renew-signal` does nothing", {
      help: "say which signal, such as SIGHUP",
    });
  }
  if (pidFile === undefined && parsed.rest.length === 0)
    throw new AppError("invalid-argument", "`--renew-signal` has nobody to tell", {
      help: "give a command after `--`, or --renew-pid-file FILE",
    });
  return { signal: parseSignal(signal), ...(pidFile === undefined ? {} : { pidFile }) };
}

function healthOf(parsed: ParsedArguments): Pick<AgentOptions, "health"> {
  const listen = parsed.value("health-listen");
  const probes = parseAppProbes(required(parsed, "app-probes"));
  if (listen !== undefined) return { health: { ...parseHostPort(listen), probes } };
  if (probes.size === 0) return {};
  throw new AppError("invalid-argument", "`--app-probes` without `--health-listen` is asked by nobody", {
    help: "say where they are answered",
  });
}

/** `captured`: what the workload's object says. */
function dnsOf(parsed: ParsedArguments, captured: boolean): Pick<AgentOptions, "dns"> {
  const port = parsed.value("dns-port");
  if (port === undefined && !captured) return {};
  const resolvConf = resolve(required(parsed, "resolv-conf"));
  return { dns: { port: port === undefined ? CAPTURE_DNS_PORT : parseNumber("--dns-port", port, 1, HIGHEST_PORT), resolvConf } };
}

type OwnOptions = Pick<
  AgentOptions,
  "dns" | "health" | "keySpec" | "proxy" | "workloadApi" | "sdsFiles" | "outputCertificates" | "renewalSignal" | "command"
>;

/** What the shared options say. Throws `invalid-argument`, `not-found`. */
export async function agentFlags(parsed: ParsedArguments, { dnsCapture }: { readonly dnsCapture: boolean }): Promise<OwnOptions> {
  const outputCertificates = parsed.value("output-certs");
  const signal = renewalSignal(parsed);
  return {
    proxy: await proxyChoice(parsed),
    workloadApi: await workloadApi(parsed),
    sdsFiles: parsed.values("sds-files"),
    ...keyKindOf(parsed),
    ...healthOf(parsed),
    ...dnsOf(parsed, dnsCapture),
    ...(outputCertificates === undefined ? {} : { outputCertificates }),
    ...(signal === undefined ? {} : { renewalSignal: signal }),
    ...(parsed.rest.length > 0 ? { command: parsed.rest } : {}),
  };
}

/** The process's signals, and the end of the process that started it: the agent's as soon as there is one. */
export class AgentSignals {
  readonly #early: NodeJS.Signals[] = [];
  readonly #asked = new AbortController();
  #hand = (signal: NodeJS.Signals): void => {
    this.#early.push(signal);
    this.#asked.abort(signal);
  };

  constructor() {
    for (const signal of AGENT_SIGNALS) process.on(signal, () => this.#hand(signal));
    onParentEnd(() => this.#hand("SIGTERM"));
  }

  /** Aborted by a signal that comes before there is an agent. */
  get asked(): AbortSignal {
    return this.#asked.signal;
  }

  /** Runs an agent to its end; its exit status. */
  async run(options: AgentOptions): Promise<number> {
    const agent = await startAgent(options);
    this.#hand = (signal) => agent.signal(signal);
    for (const signal of this.#early) agent.signal(signal);
    return agent.done;
  }
}
