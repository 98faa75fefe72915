/** What becomes of a request that a gateway's rules let pass: its routes come after them. */
import type { RouteAction } from "../compile/gateway-policy.ts";
import { RouteTable } from "../compile/route-choice.ts";
import type { Facts } from "../policy/decision.ts";
import { quote } from "../policy/decode/report.ts";
import type { Entrance } from "./entrance.ts";

/** The gateway answers by itself. */
export interface Unrouted {
  readonly status: 301 | 404 | 421 | 503;
  readonly why: string;
}

function ownAnswer(action: RouteAction | undefined, server: string, host: string): Unrouted | undefined {
  switch (action?.kind) {
    case "forward":
      return undefined;
    case undefined:
      return { status: 404, why: `no route of server ${quote(server)} fits` };
    case "https":
      return { status: 301, why: `server ${quote(server)} sends every request on to https` };
    case "misdirected":
      return {
        status: 421,
        why: `the host ${quote(host)} is another server's, and not of server ${quote(server)}, which took the connection`,
      };
    case "unavailable":
      return { status: 503, why: "the route leads to no service" };
  }
}

/** Undefined where a route leads to a service, and where there are none to ask: at a workload that is no gateway. */
export function unrouted({ server }: Pick<Entrance, "server">, { http }: Facts): Unrouted | undefined {
  if (server === undefined || http === undefined) return undefined;
  const { method, host, path, headers } = http;
  const asked = { method, authority: host, path, linesOf: (name: string) => headers.get(name) ?? [] };
  return ownAnswer(new RouteTable(server.hosts).choose(asked), server.name, host);
}
