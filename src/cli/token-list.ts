import type { JoinTokenRecord } from "../ca/join-tokens.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION, tellNothing } from "./options.ts";

const iso = (time: number): string => new Date(time).toISOString();

function fate({ usedAt, expiresAt }: JoinTokenRecord, now: number): string {
  if (usedAt !== undefined) return `used ${iso(usedAt)}`;
  return `${expiresAt <= now ? "expired" : "open until"} ${iso(expiresAt)}`;
}

export const command: Command = {
  name: "token list",
  summary:
    "Lists join tokens of the last 30 days, the newest first: for whom, and whether they were used. The tokens themselves are not kept.",
  options: { state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison token list"],
  run: async (parsed) => {
    const answer = await callAdmin(controlPlaneSocket(required(parsed, "state")), "GET", "/v1/join-tokens");
    const now = Date.now();
    const lines = (answer as readonly JoinTokenRecord[]).map(
      (record) => `${record.id}  ${record.workload ?? `${record.namespace}/${record.name} (account)`}  ${fate(record, now)}\n`,
    );
    if (lines.length === 0) tellNothing(parsed, "there is no join token of the last 30 days");
    process.stdout.write(parsed.flag("json") ? `${JSON.stringify(answer)}\n` : lines.join(""));
    return EXIT.ok;
  },
};
