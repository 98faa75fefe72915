/** The resource types that the protocol treats specially, and the order in which types are pushed. */

export const CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
export const ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
export const LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener";
export const ROUTE = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
export const EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/** Types that have a wildcard subscription, and whose state-of-the-world responses are always complete (xDS protocol, "Grouping Resources into Responses"). */
export const WILDCARD_TYPES: ReadonlySet<string> = new Set([CLUSTER, LISTENER]);

/**
 * Types of which each response carries one resource, and of which the first answer about a version is the only true one:
 * Envoy (seen with 1.40) notes an extension config as its last before it has tried it, and acknowledges one that it has
 * refused when the same is sent again, while the older one stays in force.
 */
export const FIRST_ANSWER_ONLY: ReadonlySet<string> = new Set([EXTENSION]);

/**
 * `make` sends what is new or changed, and for every type but those of `BREAK_LAST` what is gone as well; `break`
 * sends what is gone of those. A listener is replaced in one message because two may not claim one address.
 */
export type Phase = "make" | "break";

/** Make before break (xDS protocol, "Eventual consistency considerations"): nothing is pushed before that to which it refers. */
const MAKE_ORDER: readonly string[] = [
  CLUSTER, // refers to nothing
  ENDPOINTS, // warm the clusters just sent
  LISTENER, // refer to clusters
  ROUTE, // warm the listeners just sent
  EXTENSION, // filters of the listeners just sent; every other type follows
];

/** Nothing that is still in force may refer to what goes, so clusters go after the listeners and routes that named them. */
const BREAK_LAST: readonly string[] = [CLUSTER, ENDPOINTS];

export function removedLast(typeUrl: string): boolean {
  return BREAK_LAST.includes(typeUrl);
}

export interface Step {
  readonly typeUrl: string;
  readonly phase: Phase;
}

/** The steps of a push over the given types, in the order in which they are taken. */
export function pushSteps(typeUrls: Iterable<string>): readonly Step[] {
  const known = new Set(typeUrls);
  const made = [...MAKE_ORDER.filter((typeUrl) => known.has(typeUrl)), ...[...known].filter((typeUrl) => !MAKE_ORDER.includes(typeUrl))];
  return [
    ...made.map((typeUrl): Step => ({ typeUrl, phase: "make" })),
    ...BREAK_LAST.filter((typeUrl) => known.has(typeUrl)).map((typeUrl): Step => ({ typeUrl, phase: "break" })),
  ];
}

/**
 * The types whose news go before this step. Every other step must not wait: Envoy answers for a cluster only once that
 * is warm, for which it needs endpoints and secrets.
 */
export function waitsFor({ typeUrl, phase }: Step): readonly string[] {
  if (phase === "break") return [LISTENER, ROUTE];
  return WAITS_FOR[typeUrl] ?? [];
}

const WAITS_FOR: Readonly<Record<string, readonly string[]>> = {
  [LISTENER]: [CLUSTER],
  [ROUTE]: [CLUSTER, LISTENER],
};
