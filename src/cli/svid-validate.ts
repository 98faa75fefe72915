import { readFileSync } from "node:fs";
import { AppError } from "../core/error.ts";
import { SpiffeWorkloadAPI } from "../gen/spiffe/workload/workload_pb.js";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { askWorkloadApi, SOCKET_OPTION } from "./workload-api-client.ts";

export const command: Command = {
  name: "svid validate",
  summary: "Says whose a JWT-SVID is, read from standard input, if it is good for this audience; else why it is not, and exits with 1.",
  operands: "AUDIENCE",
  arity: [1, 1],
  options: { socket: SOCKET_OPTION },
  examples: ["garrison svid validate billing < token"],
  run: async (parsed) => {
    const [audience = ""] = parsed.positionals;
    const svid = readFileSync(process.stdin.fd, "utf8").trim();
    try {
      const { spiffeId } = await askWorkloadApi(parsed, SpiffeWorkloadAPI.method.validateJWTSVID, { audience, svid });
      process.stdout.write(`${spiffeId}\n`);
      return EXIT.ok;
    } catch (thrown) {
      const error = AppError.from(thrown);
      if (error.code !== "invalid-argument" || error.cause === undefined) throw thrown;
      process.stdout.write(`${error.message}\n`);
      return EXIT.no;
    }
  },
};
