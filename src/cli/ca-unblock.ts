import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { required, STATE_OPTION } from "./options.ts";

export const command: Command = {
  name: "ca unblock",
  summary: "Lets a revoked identity have certificates again. Certificates that were revoked stay so.",
  operands: "NAMESPACE/SERVICE-ACCOUNT",
  arity: [1, 1],
  options: { state: STATE_OPTION },
  examples: ["garrison ca unblock photo-ns/photo-frontend"],
  run: async (parsed) => {
    const body = { identity: parsed.positionals[0] ?? "" };
    const { identity } = (await callAdmin(controlPlaneSocket(required(parsed, "state")), "POST", "/v1/ca/unblock", body)) as {
      identity: string;
    };
    process.stdout.write(`${identity} may have certificates again\n`);
    return EXIT.ok;
  },
};
