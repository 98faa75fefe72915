import { parseServiceAccount } from "../identity/spiffe-id.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { parseCount, required, STATE_OPTION } from "./options.ts";

/** What the admin socket answers to `POST /v1/tokens`. */
interface TokenAnswer {
  readonly token: string;
}

export const command: Command = {
  name: "token",
  summary: "Makes a service-account token, with which a workload asks for its first certificate.",
  operands: "NAMESPACE/NAME",
  arity: [1, 1],
  options: {
    audience: { type: "value", value: "NAME", doc: "whom the token is for", default: "istio-ca" },
    ttl: { type: "value", value: "SECONDS", doc: "how long it is good", default: "3600" },
    state: STATE_OPTION,
  },
  examples: ["garrison token photo-ns/photo-frontend > token"],
  run: async (parsed) => {
    const { namespace, name } = parseServiceAccount(parsed.positionals[0] ?? "");
    const ttlSeconds = parseCount("ttl", required(parsed, "ttl"), 60, 90 * 86_400);
    const body = { namespace, name, audience: required(parsed, "audience"), ttlSeconds };
    const answer = await callAdmin(controlPlaneSocket(required(parsed, "state")), "POST", "/v1/tokens", body);
    process.stdout.write(`${(answer as TokenAnswer).token}\n`);
    return EXIT.ok;
  },
};
