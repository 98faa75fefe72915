import { resolve } from "node:path";
import { unblockOffline } from "../ca/offline-unblock.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";

/** By the control plane that runs. */
async function unblock(state: string, identity: string): Promise<string> {
  const answer = await callAdmin(controlPlaneSocket(state), "POST", "/v1/ca/unblock", { identity });
  return (answer as { readonly identity: string }).identity;
}

export const command: Command = {
  name: "ca unblock",
  summary: "Lets a revoked identity have certificates again. Certificates that were revoked stay so.",
  operands: "NAMESPACE/SERVICE-ACCOUNT",
  arity: [1, 1],
  options: {
    state: STATE_OPTION,
    offline: {
      type: "flag",
      doc: "in a state folder of which no control plane runs: one whose own identity was revoked does not start before",
    },
    json: JSON_OPTION,
  },
  examples: ["garrison ca unblock photo-ns/photo-frontend", "garrison ca unblock istio-system/garrison --offline"],
  run: async (parsed) => {
    const [name = ""] = parsed.positionals;
    const state = required(parsed, "state");
    const identity = parsed.flag("offline") ? unblockOffline(resolve(state), name) : await unblock(state, name);
    process.stdout.write(parsed.flag("json") ? jsonLine({ identity }) : `${identity} may have certificates again\n`);
    return EXIT.ok;
  },
};
