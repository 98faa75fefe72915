import type { FederatedDomainStatus } from "../ca/federation/federated-domain.ts";
import type { MeshRootsStatus } from "../ca/federation/mesh-roots.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION, tellNothing } from "./options.ts";

const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

/** Of the federation's file, or of the MeshConfig. */
type Status = FederatedDomainStatus | MeshRootsStatus;

function rootLines(status: Status): readonly string[] {
  if (!("roots" in status)) return [];
  return [`  ${status.from}`, ...status.roots.map(({ id, notAfter }) => `  root ${id}, until ${time(notAfter)}`)];
}

function describe(status: Status): string {
  const { trustDomain, url, profile, state, sequence, fetchedAt, staleAt, failure } = status;
  const number = sequence === undefined ? "" : `, bundle ${sequence}`;
  const times = fetchedAt === undefined || staleAt === undefined ? "" : `, fetched ${time(fetchedAt)}, stale ${time(staleAt)}`;
  const lines = [`${trustDomain} ${state}${number}${times}`, `  ${profile} ${url}`.trimEnd(), ...rootLines(status)];
  return [...lines, ...(failure === "" ? [] : [`  last attempt failed: ${failure}`]), ""].join("\n");
}

export const command: Command = {
  name: "federation list",
  summary:
    "Shows the trust domains that are federated with, and those whose roots the MeshConfig names, the mesh's own among them: trusted, waiting for a first bundle, stale, or withdrawn; and where that is said.",
  options: { state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison federation list"],
  run: async (parsed) => {
    const answer = await callAdmin(controlPlaneSocket(required(parsed, "state")), "GET", "/v1/federation");
    const statuses = answer as readonly Status[];
    if (statuses.length === 0) tellNothing(parsed, "no other trust domain is trusted");
    process.stdout.write(parsed.flag("json") ? jsonLine(statuses) : statuses.map(describe).join(""));
    return EXIT.ok;
  },
};
