/** Which route a request takes at a gateway's server: as Envoy chooses, by Host first. */
import type { GatewayRoute, HostRoutes } from "../compile/gateway-policy.ts";
import { mostSpecific } from "../compile/server-choice.ts";
import type { RouteMatch, TextMatch } from "../policy/gateway.ts";
import { JOINED_HEADERS, joinLines } from "../render/decide/joined-headers.ts";
import { valuesOf } from "./headers.ts";
import type { RequestHead } from "./message.ts";

/** Host without its port, in lower case. */
function hostOf(authority: string): string {
  return authority.toLowerCase().replace(/:\d+$/, "");
}

function matches(value: string, match: TextMatch | undefined): boolean {
  if (match === undefined || match.kind === "present") return true;
  return match.kind === "exact" ? value === match.value : value.startsWith(match.value);
}

/** Every line of a name is tried on its own, but for those that Envoy joins (as policies see them). */
function hasHeader({ headers }: RequestHead, { name, value }: RouteMatch["headers"][number]): boolean {
  const lines = valuesOf(headers, name);
  if (lines.length === 0) return false;
  return JOINED_HEADERS.has(name) ? matches(joinLines(lines), value) : lines.some((line) => matches(line, value));
}

function fits(head: RequestHead, { path, method, authority, headers }: RouteMatch): boolean {
  return (
    matches(head.path.path, path) &&
    matches(head.method, method) &&
    matches(head.authority, authority) &&
    headers.every((header) => hasHeader(head, header))
  );
}

/** The routes of one server. */
export class RouteTable {
  readonly #byHost: ReadonlyMap<string, readonly GatewayRoute[]>;

  constructor(hosts: readonly HostRoutes[]) {
    this.#byHost = new Map(hosts.map(({ host, routes }) => [host, routes]));
  }

  /** Undefined: nobody said what becomes of such a request. */
  choose(head: RequestHead): GatewayRoute["action"] | undefined {
    return mostSpecific(this.#byHost, hostOf(head.authority))?.find(({ match }) => fits(head, match))?.action;
  }
}
