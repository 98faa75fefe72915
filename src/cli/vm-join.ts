import { connect } from "node:net";
import type { Membership } from "../agent/registration.ts";
import { DESCRIBE_GROUP } from "../agent/registration-messages.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { AGENT_OPTIONS, AgentSignals, agentFlags } from "./agent-flags.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { createLogger } from "./log.ts";
import { logLevel, parseHostPort, required, STATE_OPTION } from "./options.ts";
import { REMOTE_OPTIONS, type RemoteCall, remoteControlPlane, remotePlace, untilAnswered, type WorkloadPlace } from "./remote-workload.ts";
import { runFolderOf } from "./run-folders.ts";

const CONNECT_MS = 5_000;
/** The user of agent and proxy, whose connections `garrison capture` leaves alone. */
const PROXY_UID = 1337;

/** The address of this machine from which the control plane is reached. Throws `unavailable`. */
function ownAddress(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: CONNECT_MS });
    const fail = (reason: string): void => {
      socket.destroy();
      reject(
        new AppError("unavailable", `cannot reach the control plane at \`${host}:${port}\`: ${reason}`, {
          help: "is it running, is this its address, and does a firewall let this machine through?",
        }),
      );
    };
    socket.once("timeout", () => fail(`no answer within ${CONNECT_MS / 1000} s`));
    socket.once("error", ({ message }) => fail(message));
    socket.once("connect", () => {
      resolve(socket.localAddress ?? "");
      socket.destroy();
    });
  });
}

interface JoinedPlace extends WorkloadPlace {
  readonly membership: Membership;
}

/** Whether a captured machine's agent is who it must be. */
function checkCapture(captured: boolean, proxy: string): void {
  if (!captured) return;
  if (proxy === "embedded")
    throw new AppError("unsupported", "the group's machines are captured, and the embedded proxy cannot serve that", {
      help: "say `--proxy envoy`",
    });
  const uid = process.getuid?.();
  if (proxy === "none" || uid === PROXY_UID) return;
  throw new AppError(
    "permission-denied",
    `the group's machines are captured: agent and proxy are to run as user ${PROXY_UID}, and not ${uid}`,
    {
      help: `as root, run \`garrison capture\`, and then this command by \`setpriv --reuid=${PROXY_UID} --regid=${PROXY_UID} --clear-groups\``,
    },
  );
}

/** What this machine will be; undefined where a signal came first. */
async function describe(parsed: ParsedArguments, asked: AbortSignal, logger: Logger): Promise<JoinedPlace | undefined> {
  const group = required(parsed, "group");
  const { host, port } = parseHostPort(required(parsed, "control-plane"));
  const remote = remoteControlPlane(parsed);
  const ask = async (call: RemoteCall) => {
    const address = parsed.value("address") ?? (await ownAddress(host, port));
    return call(DESCRIBE_GROUP, { group, address });
  };
  const described = await untilAnswered({ parsed, remote, asked, logger, what: "what this machine is to be" }, ask);
  if (described === undefined) return undefined;
  const { workload, identity, address, captured, dnsCapture } = described;
  logger.log("info", "this machine joins", { group, workload, identity, address });
  const runFolder = runFolderOf(required(parsed, "state"), workload);
  const membership = { group, captured, execProbes: parsed.flag("exec-probes") };
  return { workload, identity, address, ...remotePlace(remote), runFolder, env: {}, dnsCapture, membership };
}

export const command: Command = {
  name: "vm join",
  summary:
    "Makes this machine a member of a WorkloadGroup for as long as it runs: identity, registration, health, and the proxy. Ended by SIGTERM, it leaves.",
  options: {
    group: { type: "value", value: "NAMESPACE/NAME", doc: "the WorkloadGroup; its template's service account is this machine's identity" },
    address: {
      type: "value",
      value: "IP",
      doc: "how peers reach this machine; without, the address from which it reaches the control plane",
    },
    ...REMOTE_OPTIONS,
    "exec-probes": {
      type: "flag",
      doc: "let the group's probe run a program here: whoever may write the WorkloadGroup chooses which",
    },
    state: { ...STATE_OPTION, doc: "the agent's folder lies in it; only its owner may read it" },
    ...AGENT_OPTIONS,
  },
  examples: [
    "garrison vm join --control-plane 10.0.0.5:15012 --root-ca root-cert.pem --group shop/cart --join-token join-…",
    "garrison vm join --control-plane 10.0.0.5:15012 --root-ca root-cert.pem --group shop/cart --token-file token --output-certs certs",
  ],
  run: async (parsed) => {
    if (parsed.rest.length > 0)
      throw new AppError("invalid-argument", "`garrison vm join` runs no command", { help: "start the application by itself" });
    const logger = createLogger(logLevel(parsed));
    const signals = new AgentSignals();
    const place = await describe(parsed, signals.asked, logger);
    if (place === undefined) return EXIT.ok;
    const flags = await agentFlags(parsed, place);
    checkCapture(place.membership.captured, flags.proxy.kind);
    return signals.run({ ...place, ...flags, logger });
  },
};
