/** Extension providers -> the authorizers that CUSTOM rules ask, and why some cannot be asked. */
import type { MeshSnapshot, Workload } from "../mesh/snapshot.ts";
import type { ExtensionProvider } from "../policy/extension-provider.ts";
import type { AuthorizationPolicyObject } from "../policy/model.ts";
import { findUpstream } from "./outbound.ts";
import type { Authorizer, UpstreamService } from "./workload-policy.ts";

export type Transport = "http" | "tcp";

/** Why a provider can be asked of nothing. */
export interface Unusable {
  readonly why: string;
  readonly help: string;
}

/** How many authorizers a request and a TCP connection may be asked of: as many as listeners keep places for. */
export const PLACES = { http: 4, tcp: 2 } as const satisfies Record<Transport, number>;

function unusable(why: string, help: string): Unusable {
  return { why, help };
}

/** HTTP/2 is what gRPC is made of; HTTP can be asked by both versions. */
function protocolProblem(provider: ExtensionProvider, { protocol }: UpstreamService): Unusable | undefined {
  if (provider.kind === "grpc" && protocol !== "http2")
    return unusable("speaks gRPC, and the service's port is not said to", "name the port `grpc`, or give it the `appProtocol` `grpc`");
  if (provider.kind === "http" && protocol === "tcp")
    return unusable("speaks HTTP, and the service's port is TCP", "name the port `http`, or give it the `appProtocol` `http`");
  return undefined;
}

/** A mesh's provider by its name, as a workload asks it, or why nothing can be asked of it. */
export function authorizerOf(snapshot: MeshSnapshot, name: string, client?: Workload): Authorizer | Unusable {
  const provider = snapshot.settings.extensionProviders?.get(name);
  if (provider === undefined)
    return unusable("is unknown", "define it among `extensionProviders` of the MeshConfig, or name one that is there");
  const { service, port, place: _, ...settings } = provider;
  const upstream = findUpstream(snapshot, client, service, port);
  if (upstream === undefined) return unusable(`is at \`${service.host}:${port}\`, which no service has`, "add the Service, with this port");
  return protocolProblem(provider, upstream) ?? { ...settings, upstream };
}

export function isUnusable(authorizer: Authorizer | Unusable): authorizer is Unusable {
  return "why" in authorizer;
}

/** FNV-1a: where a name would like to be. */
function hash(name: string): number {
  let value = 0x811c9dc5;
  for (const character of name) value = Math.imul(value ^ character.charCodeAt(0), 0x01000193) >>> 0;
  return value;
}

/**
 * The place of each provider. It follows from the name as long as no other claims it, so that others that come and go seldom
 * move it: proxies learn of each place by itself. Those that find none are left out.
 */
function placesOf(names: readonly string[], count: number): ReadonlyMap<string, number> {
  const taken = new Map<number, string>();
  for (const name of [...names].sort()) {
    const free = Array.from({ length: count }, (_, step) => (hash(name) + step) % count).find((place) => !taken.has(place));
    if (free !== undefined) taken.set(free, name);
  }
  return new Map([...taken].sort(([left], [right]) => left - right).map(([place, name]) => [name, place]));
}

/** What the CUSTOM policies of one workload can ask. */
export class Authorizers {
  /** By name. */
  readonly usable: ReadonlyMap<string, Authorizer>;
  readonly #places: Readonly<Record<Transport, ReadonlyMap<string, number>>>;

  constructor(snapshot: MeshSnapshot, client: Workload | undefined, policies: readonly AuthorizationPolicyObject[]) {
    const names = new Set(policies.flatMap(({ provider, rules }) => (provider === undefined || rules === "invalid" ? [] : [provider])));
    const found = [...names].sort().map((name) => [name, authorizerOf(snapshot, name, client)] as const);
    this.usable = new Map(found.flatMap(([name, authorizer]) => (isUnusable(authorizer) ? [] : [[name, authorizer] as const])));
    const speakGrpc = [...this.usable.values()].filter(({ kind }) => kind === "grpc").map(({ name }) => name);
    this.#places = { http: placesOf([...this.usable.keys()], PLACES.http), tcp: placesOf(speakGrpc, PLACES.tcp) };
  }

  /** The providers that can be asked, with their places, in the order in which they are asked. */
  places(transport: Transport): ReadonlyMap<string, number> {
    return this.#places[transport];
  }

  /** The provider that a policy's rules ask; undefined where none can be asked, so that they deny. */
  askedBy({ provider }: AuthorizationPolicyObject, transport: Transport): string | undefined {
    return provider !== undefined && this.#places[transport].has(provider) ? provider : undefined;
  }
}
