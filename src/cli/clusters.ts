import type { ClusterStatus } from "../server/cluster/cluster-status.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import { describeCluster } from "./clusters/format.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";

export const command: Command = {
  name: "clusters",
  summary: "Shows the clusters of the mesh: which are connected, since when, and what is wrong with the others.",
  options: { state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison clusters", "garrison clusters --json"],
  run: async (parsed) => {
    const clusters = (await callAdmin(controlPlaneSocket(required(parsed, "state")), "GET", "/v1/clusters")) as readonly ClusterStatus[];
    const none = ["the configuration is a folder: there are no clusters"];
    const lines = parsed.flag("json") ? clusters.map(jsonLine) : clusters.length === 0 ? none : clusters.flatMap(describeCluster);
    process.stdout.write(lines.map((line) => `${line}\n`).join(""));
    return EXIT.ok;
  },
};
