import { AppError } from "../core/error.ts";
import { AGENT_OPTIONS, AgentSignals, agentFlags } from "./agent-flags.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { createLogger } from "./log.ts";
import { logLevel, STATE_OPTION } from "./options.ts";
import { REMOTE_OPTIONS, remoteWorkload } from "./remote-workload.ts";

export const command: Command = {
  name: "agent",
  summary:
    "Runs the agent of a workload for a control plane on another machine: certificate, Workload API and proxy, for a service manager.",
  options: {
    workload: { type: "value", value: "NAMESPACE/NAME", doc: "which one, where several have the token's service account" },
    ...REMOTE_OPTIONS,
    state: { ...STATE_OPTION, doc: "the agent's folder lies in it; only its owner may read it" },
    ...AGENT_OPTIONS,
  },
  examples: [
    "garrison agent --control-plane 10.0.0.5:15012 --root-ca root-cert.pem --join-token join-… --output-certs certs",
    "garrison agent --control-plane mesh.example.org:15012 --root-ca root-cert.pem --token-file token --proxy none",
  ],
  run: async (parsed) => {
    if (parsed.rest.length > 0) throw new AppError("invalid-argument", "`garrison agent` runs no command", { help: "`garrison run` does" });
    const logger = createLogger(logLevel(parsed));
    const signals = new AgentSignals();
    const place = await remoteWorkload(parsed, signals.asked, logger);
    return place === undefined ? EXIT.ok : signals.run({ ...place, ...(await agentFlags(parsed, place)), logger });
  },
};
