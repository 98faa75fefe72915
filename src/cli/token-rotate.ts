import type { TokenRotation } from "../ca/service-account-token.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";

function describe({ keyId, refusedKeys, formerUntil }: TokenRotation): string {
  const before =
    formerUntil === undefined
      ? `tokens of ${refusedKeys === 1 ? "the key" : `the ${refusedKeys} keys`} before it are refused`
      : `tokens of the key before it are good until they expire, by ${new Date(formerUntil).toISOString()} at the latest`;
  return `key ${keyId} signs service-account tokens from now on\n${before}\n`;
}

export const command: Command = {
  name: "token rotate",
  summary: "Replaces the key that signs service-account tokens. Tokens of the keys before are good until they expire, unless --revoke.",
  options: {
    revoke: {
      type: "flag",
      doc: "the key may be in wrong hands: refuse every token that was made so far; workloads that wait with one need another",
    },
    state: STATE_OPTION,
    json: JSON_OPTION,
  },
  examples: ["garrison token rotate", "garrison token rotate --revoke"],
  run: async (parsed) => {
    const socket = controlPlaneSocket(required(parsed, "state"));
    const answer = (await callAdmin(socket, "POST", "/v1/tokens/rotate", { revoke: parsed.flag("revoke") })) as TokenRotation;
    process.stdout.write(parsed.flag("json") ? jsonLine(answer) : describe(answer));
    return EXIT.ok;
  },
};
