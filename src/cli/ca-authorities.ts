import type { AuthoritiesAnswer, AuthorityInfo, ConfiguredRoot } from "../server/authorities.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";

const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

function lines(
  { id, state, since, notAfter, certificates, identities, inUse, acknowledged, waiting }: AuthorityInfo,
  connected: number,
): string {
  const from = since === undefined ? "" : ` since ${time(since)}`;
  return [
    `${id} ${state}${from}, until ${time(notAfter)}`,
    `  unexpired certificates: ${certificates}, of identities: ${identities}; in use by connected proxies: ${inUse}`,
    `  trusted by ${acknowledged} of ${connected} connected proxies`,
    ...waiting.map((workload) => `    not yet: ${workload}`),
  ].join("\n");
}

function configuredLine({ id, notAfter, from, url }: ConfiguredRoot): string {
  return `${id} trusted beside the CA, signs nothing here, until ${time(notAfter)}\n  ${from}${url === "" ? "" : ` ${url}`}`;
}

export const command: Command = {
  name: "ca authorities",
  summary:
    "Shows every authority that is trusted, the oldest first: its identifier and state (prepared, active, old, tainted; trusted for a root of your own CA), its certificates, and which connected proxies have acknowledged it; then the roots that the MeshConfig names for the mesh's own trust domain, and where.",
  options: { state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison ca authorities"],
  run: async (parsed) => {
    const answer = (await callAdmin(controlPlaneSocket(required(parsed, "state")), "GET", "/v1/ca/authorities")) as AuthoritiesAnswer;
    const { source, sequence, connected, authorities, configured } = answer;
    const roots = [...authorities.map((each) => lines(each, connected)), ...configured.map(configuredLine)];
    const text = [`CA: ${source}, trust bundle ${sequence}`, ...roots, ""].join("\n");
    process.stdout.write(parsed.flag("json") ? jsonLine(answer) : text);
    return EXIT.ok;
  },
};
