/** What is asked at a workload's listeners, each filter an extension config of its own (ECDS). */
import type { WorkloadPolicy } from "../../compile/workload-policy.ts";
import { whileSame } from "../../core/while-same.ts";
import { authorizationFilters, type Scope } from "./authorization.ts";
import { customFilters } from "./external-authorization.ts";
import { filterKeeper } from "./filter-config.ts";
import { requestAuthenticationFilters } from "./request-authentication.ts";
import { joined, type ResourcesByName } from "./resource.ts";

/** All that a workload's filters are made of. */
export type Filtered = Pick<
  WorkloadPolicy,
  | "workload"
  | "http"
  | "tcp"
  | "revoked"
  | "foreignTrustDomains"
  | "authorizers"
  | "requestAuthentication"
  | "inbound"
  | "capture"
  | "gateway"
>;

const lists = new Map<string, readonly Scope[]>();

/** The transports that an inbound listener speaks. A proxy never asks for the filters of others, and would count as behind for ever. */
function scopesOf({ inbound, capture, gateway }: Filtered): readonly Scope[] {
  const kinds = gateway?.listeners.flatMap(({ servers }) => servers.map(({ security }) => security.kind)) ?? [];
  const scopes = new Set<Scope>([
    ...inbound.map(({ protocol }) => (protocol === "tcp" ? "tcp" : "http")),
    // Ports that no service declares.
    ...(capture === undefined ? [] : ["tcp" as const]),
    ...kinds.map((kind) => (kind === "mesh" ? "http" : "outside")),
  ]);
  const sorted = [...scopes].sort();
  // One list for all that speak the same, so that filters stay when listeners change.
  const known = lists.get(sorted.join()) ?? sorted;
  lists.set(sorted.join(), known);
  return known;
}

const keepers = { rules: filterKeeper(), others: filterKeeper() } as const;

/** Those that hold rules, which change most often. */
const rulesOf = whileSame(
  (
    own: object,
    scopes: readonly Scope[],
    workload: string,
    http: Filtered["http"],
    tcp: Filtered["tcp"],
    revoked: Filtered["revoked"],
    foreign: Filtered["foreignTrustDomains"],
  ): ResourcesByName => {
    const filters = scopes.flatMap((scope) => authorizationFilters(workload, scope, scope === "tcp" ? tcp : http, revoked, foreign));
    return keepers.rules(filters, own);
  },
);

/** What comes before them: tokens, and whom CUSTOM rules ask. */
const othersOf = whileSame(
  (
    own: object,
    scopes: readonly Scope[],
    workload: string,
    authorizers: Filtered["authorizers"],
    requestAuthentication: Filtered["requestAuthentication"],
    http: Filtered["http"]["custom"],
    tcp: Filtered["tcp"]["custom"],
  ): ResourcesByName => {
    const asked = authorizers === undefined ? {} : { authorizers };
    const tokens = { workload, ...asked, ...(requestAuthentication === undefined ? {} : { requestAuthentication }) };
    const layers = { http: http === undefined ? {} : { custom: http }, tcp: tcp === undefined ? {} : { custom: tcp } };
    const asking = { workload, ...asked, ...layers };
    const filters = [
      ...(scopes.some((scope) => scope !== "tcp") ? [...requestAuthenticationFilters(tokens), ...customFilters(asking, "http")] : []),
      ...(scopes.includes("tcp") ? customFilters(asking, "tcp") : []),
    ];
    return keepers.others(filters, own);
  },
);

/** `own` is one object for one proxy: what of its filters is the same as the last time is the same object. */
export function ownFilters(source: Filtered, own: object): ResourcesByName {
  const { workload, http, tcp, revoked, foreignTrustDomains, authorizers, requestAuthentication } = source;
  const scopes = scopesOf(source);
  return joined(
    rulesOf(own, scopes, workload, http, tcp, revoked, foreignTrustDomains),
    othersOf(own, scopes, workload, authorizers, requestAuthentication, http.custom, tcp.custom),
  );
}
