import { AGENT_SIGNALS, startAgent } from "../agent/agent.ts";
import type { ProxyChoice } from "../agent/agent-options.ts";
import { openRunFolder } from "../agent/run-folder.ts";
import { serviceEnvironment } from "../agent/service-environment.ts";
import { AppError } from "../core/error.ts";
import { readControlPlaneFile } from "../server/files.ts";
import type { WorkloadSummary } from "../server/workloads.ts";
import { callAdmin } from "./admin-client.ts";
import { garrisonCommand } from "./child.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { chooseProxy, PROXY_OPTION } from "./find-envoy.ts";
import { runFolderOf } from "./local-mesh.ts";
import { createLogger } from "./log.ts";
import { LOG_OPTION, logLevel, required, STATE_OPTION } from "./options.ts";
import { onParentEnd } from "./signals.ts";
import { WORKLOAD_API_OPTIONS, workloadApi } from "./workload-api-options.ts";

const TOKEN_TTL_SECONDS = 600;

/** The one workload that the command line means. Throws `not-found`, or `invalid-argument` where several would do. */
function chooseWorkload(parsed: ParsedArguments, workloads: readonly WorkloadSummary[]): WorkloadSummary {
  const name = parsed.value("workload");
  const account = parsed.value("service-account");
  if (name === undefined && account === undefined) {
    throw new AppError("invalid-argument", "which workload is it?", {
      help: "say --workload NAMESPACE/NAME or --service-account NAMESPACE/NAME",
    });
  }
  const fitting = workloads.filter(
    ({ workload, serviceAccount }) => (name === undefined || workload === name) && (account === undefined || serviceAccount === account),
  );
  const [only] = fitting;
  const wanted = [name === undefined ? "" : ` \`${name}\``, account === undefined ? "" : ` of service account \`${account}\``].join("");
  if (only === undefined) {
    const known = workloads.map(({ workload }) => workload).join(", ");
    throw new AppError("not-found", `the configuration has no workload${wanted}`, {
      help: `add a WorkloadEntry; there are: ${known || "none"}`,
    });
  }
  if (fitting.length > 1) {
    const names = fitting.map(({ workload }) => workload).join(", ");
    throw new AppError("invalid-argument", `there are several workloads${wanted}: ${names}`, { help: "say which with --workload" });
  }
  return only;
}

async function proxyChoice(parsed: ParsedArguments): Promise<ProxyChoice> {
  if (parsed.value("proxy") === "none") return { kind: "none" };
  const chosen = await chooseProxy(required(parsed, "proxy"));
  if (chosen.kind === "embedded") return { kind: "embedded", command: garrisonCommand("proxy", "--log-level", logLevel(parsed)) };
  const xds = required(parsed, "xds");
  if (xds !== "delta" && xds !== "sotw")
    throw new AppError("invalid-argument", `\`--xds ${xds}\` is not known`, { help: "it is delta or sotw" });
  return { kind: "envoy", path: chosen.path, xds };
}

export const command: Command = {
  name: "run",
  summary: "Runs a workload: an agent with its certificate and proxy, and the application's command when the proxy is ready.",
  operands: "[-- CMD ARG…]",
  options: {
    "service-account": { type: "value", value: "NAMESPACE/NAME", doc: "the workload that runs as this account" },
    workload: { type: "value", value: "NAMESPACE/NAME", doc: "the workload by its WorkloadEntry" },
    proxy: { ...PROXY_OPTION, doc: `${PROXY_OPTION.doc}; or none: the identity alone` },
    ...WORKLOAD_API_OPTIONS,
    xds: { type: "value", value: "VARIANT", doc: "how Envoy is served: delta, or sotw (state of the world)", default: "delta" },
    state: STATE_OPTION,
    "log-level": LOG_OPTION,
  },
  examples: [
    "garrison run --service-account photo-ns/photo-frontend -- node frontend.ts",
    "garrison run --workload photo-ns/photo-backend --proxy embedded -- ./backend",
  ],
  run: async (parsed) => {
    const logger = createLogger(logLevel(parsed));
    const state = required(parsed, "state");
    const controlPlane = readControlPlaneFile(state);
    const workloads = (await callAdmin(controlPlane.adminSocket, "GET", "/v1/workloads")) as readonly WorkloadSummary[];
    const chosen = chooseWorkload(parsed, workloads);
    const proxy = await proxyChoice(parsed);
    const runFolder = openRunFolder(runFolderOf(state, chosen.workload));
    const [namespace, name] = chosen.serviceAccount.split("/");
    const body = { namespace, name, audience: "istio-ca", ttlSeconds: TOKEN_TTL_SECONDS };
    // Asked for at each attempt, and never kept: however long the control plane was away, the next token is a new one.
    const token = async (certified: boolean): Promise<string | undefined> => {
      if (certified) return undefined;
      return ((await callAdmin(controlPlane.adminSocket, "POST", "/v1/tokens", body)) as { readonly token: string }).token;
    };
    const early: NodeJS.Signals[] = [];
    let onSignal = (signal: NodeJS.Signals): void => void early.push(signal);
    for (const signal of AGENT_SIGNALS) process.on(signal, () => onSignal(signal));
    const agent = await startAgent({
      workload: chosen.workload,
      identity: chosen.identity,
      address: chosen.address,
      controlPlane: { address: controlPlane.host, port: controlPlane.port, identity: controlPlane.identity },
      rootCertificateFile: controlPlane.rootCertificate,
      token,
      runFolder,
      proxy,
      workloadApi: await workloadApi(parsed),
      ...(parsed.rest.length > 0 ? { command: parsed.rest } : {}),
      env: serviceEnvironment(chosen.egress),
      logger,
    });
    onSignal = (signal) => agent.signal(signal);
    for (const signal of early) agent.signal(signal);
    onParentEnd(() => agent.signal("SIGTERM"));
    return agent.done;
  },
};
