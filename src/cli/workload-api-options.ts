/** Where an agent serves the SPIFFE Workload API. */
import { connect } from "node:net";
import { parseEndpointSocket, type SocketGroup, socketGroup } from "../agent/workload-socket.ts";
import type { OptionSpecs, ParsedArguments } from "./command.ts";

export const WORKLOAD_API_OPTIONS = {
  "workload-api": {
    type: "value",
    value: "SOCKET",
    doc: "where the SPIFFE Workload API is served, as unix:///PATH; without, at SPIFFE_ENDPOINT_SOCKET where nobody else serves, else in the agent's run folder",
  },
  "workload-api-group": {
    type: "value",
    value: "GROUP",
    doc: "a group that may use it besides the agent's user, or `*` for whoever can enter the socket's folder",
  },
} as const satisfies OptionSpecs;

/** Whether somebody, such as an agent around this one, serves there already (Istio's agents give way as well). */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const tell = (served: boolean): void => {
      socket.destroy();
      resolve(served);
    };
    socket.once("connect", () => tell(true)).once("error", () => tell(false));
  });
}

async function socketOf(parsed: ParsedArguments): Promise<string | undefined> {
  const given = parsed.value("workload-api");
  if (given !== undefined) return parseEndpointSocket(given);
  const { SPIFFE_ENDPOINT_SOCKET: named } = process.env;
  if (named === undefined || named === "") return undefined;
  const path = parseEndpointSocket(named);
  return (await isServed(path)) ? undefined : path;
}

/** What the options and `SPIFFE_ENDPOINT_SOCKET` say. Throws `invalid-argument`, `not-found`. */
export async function workloadApi(parsed: ParsedArguments): Promise<{ readonly socket?: string; readonly group?: SocketGroup }> {
  const socket = await socketOf(parsed);
  const group = parsed.value("workload-api-group");
  return { ...(socket === undefined ? {} : { socket }), ...(group === undefined ? {} : { group: socketGroup(group) }) };
}
