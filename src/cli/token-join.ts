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
    group: { type: "value", value: "NAMESPACE/NAME", doc: "for a machine that joins this WorkloadGroup: of its service account" },
    ttl: { type: "value", value: "SECONDS", doc: "until when it must be used", default: "600" },
    state: STATE_OPTION,
  },
  examples: [
    "garrison token join --workload photo-ns/photo-backend",
    "garrison token join --service-account photo-ns/photo-backend --ttl 60",
    "garrison token join --group shop/cart",
  ],
  run: async (parsed) => {
    const [workload, serviceAccount, group] = ["workload", "service-account", "group"].map((name) => parsed.value(name));
    if ([workload, serviceAccount, group].filter((given) => given !== undefined).length !== 1)
      throw new AppError("invalid-argument", "whom is it for?", {
        help: "say --workload NAMESPACE/NAME, --service-account NAMESPACE/NAME or --group NAMESPACE/NAME",
      });
    const ttlSeconds = parseCount("ttl", required(parsed, "ttl"), 1, 7 * 86_400);
    const body = { workload, serviceAccount, group, ttlSeconds };
    const answer = await callAdmin(controlPlaneSocket(required(parsed, "state")), "POST", "/v1/join-tokens", body);
    process.stdout.write(`${(answer as JoinTokenAnswer).token}\n`);
    return EXIT.ok;
  },
};
