import { SpiffeWorkloadAPI } from "../gen/spiffe/workload/workload_pb.js";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { askWorkloadApi, SOCKET_OPTION } from "./workload-api-client.ts";

export const command: Command = {
  name: "svid jwt",
  summary: "Prints a JWT-SVID: a token that names the workload to whom it is for, good for five minutes.",
  operands: "AUDIENCE…",
  arity: [1, 16],
  options: { socket: SOCKET_OPTION },
  examples: ["garrison svid jwt vault", 'curl -H "Authorization: Bearer $(garrison svid jwt billing)" https://billing.example.org/'],
  run: async (parsed) => {
    const { svids } = await askWorkloadApi(parsed, SpiffeWorkloadAPI.method.fetchJWTSVID, { audience: [...parsed.positionals] });
    process.stdout.write(svids.map(({ svid }) => `${svid}\n`).join(""));
    return EXIT.ok;
  },
};
