/** Which route a request takes at a gateway's server: as Envoy chooses, by Host first. */
import type { RouteMatch, TextMatch } from "../policy/gateway.ts";
import { JOINED_HEADERS, joinLines } from "../policy/joined-headers.ts";
import type { GatewayRoute, HostRoutes } from "./gateway-policy.ts";
import { mostSpecific } from "./server-choice.ts";

/** What of a request routes look at. */
export interface RoutedRequest {
  readonly method: string;
  /** As sent. */
  readonly authority: string;
  /** Normalized, without its query. */
  readonly path: string;
  /** The lines of a header, by its name in lower case. */
  linesOf(name: string): readonly string[];
}

/** Host without its port, in lower case. */
function hostOf(authority: string): string {
  return authority.toLowerCase().replace(/:\d+$/, "");
}

function matches(value: string, match: TextMatch | undefined): boolean {
  if (match === undefined || match.kind === "present") return true;
  return match.kind === "exact" ? value === match.value : value.startsWith(match.value);
}

/** Every line of a name is tried on its own, but for those that Envoy joins (as policies see them). */
function hasHeader(request: RoutedRequest, { name, value }: RouteMatch["headers"][number]): boolean {
  const lines = request.linesOf(name);
  if (lines.length === 0) return false;
  return JOINED_HEADERS.has(name) ? matches(joinLines(lines), value) : lines.some((line) => matches(line, value));
}

function fits(request: RoutedRequest, { path, method, authority, headers }: RouteMatch): boolean {
  return (
    matches(request.path, path) &&
    matches(request.method, method) &&
    matches(request.authority, authority) &&
    headers.every((header) => hasHeader(request, header))
  );
}

/** The routes of one server. */
export class RouteTable {
  readonly #byHost: ReadonlyMap<string, readonly GatewayRoute[]>;

  constructor(hosts: readonly HostRoutes[]) {
    this.#byHost = new Map(hosts.map(({ host, routes }) => [host, routes]));
  }

  /** Undefined: nobody said what becomes of such a request. */
  choose(request: RoutedRequest): GatewayRoute["action"] | undefined {
    return mostSpecific(this.#byHost, hostOf(request.authority))?.find(({ match }) => fits(request, match))?.action;
  }
}
