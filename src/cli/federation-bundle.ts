import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { required, STATE_OPTION } from "./options.ts";

export const command: Command = {
  name: "federation bundle",
  summary: "Prints this trust domain's bundle, for the operator of another one.",
  options: { state: STATE_OPTION },
  examples: ["garrison federation bundle > east.json"],
  run: async (parsed) => {
    const answer = await callAdmin(controlPlaneSocket(required(parsed, "state")), "GET", "/v1/federation/bundle");
    process.stdout.write((answer as { readonly bundle: string }).bundle);
    return EXIT.ok;
  },
};
