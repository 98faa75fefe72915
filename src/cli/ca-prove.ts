import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { required, STATE_OPTION } from "./options.ts";

export const command: Command = {
  name: "ca prove",
  summary: "Prints the proof that a certificate is in the log, which anybody can check without it.",
  operands: "SERIAL",
  arity: [1, 1],
  options: { state: STATE_OPTION },
  examples: ["garrison ca prove 43a014aa2055bac23f716608b38d8c7f > web.tlog-proof"],
  run: async (parsed) => {
    const query = new URLSearchParams({ serial: parsed.positionals[0] ?? "" });
    const { proof } = (await callAdmin(controlPlaneSocket(required(parsed, "state")), "GET", `/v1/ca/prove?${query}`)) as {
      readonly proof: string;
    };
    process.stdout.write(proof);
    return EXIT.ok;
  },
};
