import { AppError } from "../core/error.ts";
import type { JoinTokenAnswer } from "../server/join-token-route.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { parseCount, required, STATE_OPTION } from "./options.ts";

export const command: Command = {
  name: "token join",
  summary: "Makes a join token: one workload gets its first certificate with it, once. It is told this once, and kept as a hash.",
  options: {
    workload: { type: "value", value: "NAMESPACE/NAME", doc: "for this WorkloadEntry alone" },
    "service-account": { type: "value", value: "NAMESPACE/NAME", doc: "for any workload of this account" },
    ttl: { type: "value", value: "SECONDS", doc: "until when it must be used", default: "600" },
    state: STATE_OPTION,
  },
  examples: [
    "garrison token join --workload photo-ns/photo-backend",
    "garrison token join --service-account photo-ns/photo-backend --ttl 60",
  ],
  run: async (parsed) => {
    const workload = parsed.value("workload");
    const serviceAccount = parsed.value("service-account");
    if ((workload === undefined) === (serviceAccount === undefined))
      throw new AppError("invalid-argument", "whom is it for?", {
        help: "say --workload NAMESPACE/NAME, or --service-account NAMESPACE/NAME",
      });
    const ttlSeconds = parseCount("ttl", required(parsed, "ttl"), 1, 7 * 86_400);
    const body = { ...(workload === undefined ? { serviceAccount } : { workload }), ttlSeconds };
    const answer = await callAdmin(controlPlaneSocket(required(parsed, "state")), "POST", "/v1/join-tokens", body);
    process.stdout.write(`${(answer as JoinTokenAnswer).token}\n`);
    return EXIT.ok;
  },
};
