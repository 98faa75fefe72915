import { serviceEnvironment } from "../agent/service-environment.ts";
import { AppError } from "../core/error.ts";
import { readControlPlaneFile } from "../server/files.ts";
import type { WorkloadSummary } from "../server/workloads.ts";
import { callAdmin } from "./admin-client.ts";
import { AGENT_OPTIONS, AgentSignals, agentFlags } from "./agent-flags.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { createLogger } from "./log.ts";
import { logLevel, required, STATE_OPTION } from "./options.ts";
import { REMOTE_OPTIONS, remoteWorkload, type WorkloadPlace } from "./remote-workload.ts";
import { runFolderOf } from "./run-folders.ts";

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

/** The workload by the state folder of a control plane on this machine. */
async function localWorkload(parsed: ParsedArguments): Promise<WorkloadPlace> {
  const state = required(parsed, "state");
  const controlPlane = readControlPlaneFile(state);
  const workloads = (await callAdmin(controlPlane.adminSocket, "GET", "/v1/workloads")) as readonly WorkloadSummary[];
  const chosen = chooseWorkload(parsed, workloads);
  const [namespace, name] = chosen.serviceAccount.split("/");
  const body = { namespace, name, audience: "istio-ca", ttlSeconds: TOKEN_TTL_SECONDS };
  // Asked for at each attempt, and never kept: however long the control plane was away, the next token is a new one.
  const token = async (certified: boolean): Promise<string | undefined> => {
    if (certified) return undefined;
    return ((await callAdmin(controlPlane.adminSocket, "POST", "/v1/tokens", body)) as { readonly token: string }).token;
  };
  return {
    workload: chosen.workload,
    identity: chosen.identity,
    address: chosen.address,
    controlPlane: { address: controlPlane.host, port: controlPlane.port, identity: controlPlane.identity },
    rootCertificateFile: controlPlane.rootCertificate,
    token,
    runFolder: runFolderOf(state, chosen.workload),
    env: serviceEnvironment(chosen.egress),
    dnsCapture: chosen.dnsCapture,
  };
}

/** Options that mean nothing without a control plane on another machine would be passed over in silence. */
function refuseRemoteOptions(parsed: ParsedArguments): void {
  const given = (["root-ca", "token-file", "token-command", "join-token", "cluster"] as const).find(
    (name) => parsed.value(name) !== undefined,
  );
  if (given !== undefined)
    throw new AppError("invalid-argument", `\`--${given}\` is for a control plane on another machine`, {
      help: "say --control-plane HOST:PORT",
    });
}

export const command: Command = {
  name: "run",
  summary: "Runs a workload: an agent with its certificate and proxy, and the application's command when the proxy is ready.",
  operands: "[-- CMD ARG…]",
  options: {
    "service-account": { type: "value", value: "NAMESPACE/NAME", doc: "the workload that runs as this account" },
    workload: { type: "value", value: "NAMESPACE/NAME", doc: "the workload by its WorkloadEntry" },
    ...REMOTE_OPTIONS,
    state: STATE_OPTION,
    ...AGENT_OPTIONS,
  },
  examples: [
    "garrison run --service-account photo-ns/photo-frontend -- node frontend.ts",
    "garrison run --workload photo-ns/photo-backend --proxy embedded -- ./backend",
    "garrison run --control-plane 10.0.0.5:15012 --root-ca root-cert.pem --join-token join-… -- ./backend",
  ],
  run: async (parsed) => {
    const logger = createLogger(logLevel(parsed));
    const signals = new AgentSignals();
    const remote = parsed.value("control-plane") !== undefined;
    if (!remote) refuseRemoteOptions(parsed);
    const place = remote ? await remoteWorkload(parsed, signals.asked, logger) : await localWorkload(parsed);
    if (place === undefined) return EXIT.ok;
    return signals.run({ ...place, ...(await agentFlags(parsed, place)), logger });
  },
};
