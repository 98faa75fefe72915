/** Which agents have put which trust bundle in force. */
import type { TrustFollower } from "../ca/trust-follower.ts";
import type { XdsConnection } from "../xds/connection.ts";
import { parseProxyView } from "./publisher.ts";
import type { Trust } from "./trust.ts";

/** An agent, or a proxy beside which no agent tells anything. */
export interface HolderStatus {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** The agent's SPIFFE ID; empty for a proxy without one. */
  readonly identity: string;
  /** Of the certificate in use, and of its issuer's key; hex. */
  readonly serial: string;
  readonly authority: string;
  /** Key identifiers of the roots that the agent and its proxy have said that they trust. */
  readonly roots: readonly string[];
  /** Whether that is the newest state. */
  readonly current: boolean;
  /** Why not, where it refused it. */
  readonly refusal: string;
}

export interface BundleStatus {
  readonly trustDomain: string;
  readonly sequence: number;
  /** PEM. */
  readonly roots: string;
}

export interface TrustStatus {
  readonly bundles: readonly BundleStatus[];
  /** Key identifiers of the roots of the mesh's own trust domain. */
  readonly roots: readonly string[];
  readonly holders: readonly HolderStatus[];
}

function holderStatus(follower: TrustFollower, trust: Trust): HolderStatus {
  const { workload, identity, serial, authority, holds, refusal } = follower;
  return { workload, identity, serial, authority, refusal, roots: [...(holds?.roots ?? [])], current: holds === trust.source.current };
}

/** Every agent that is connected, and every connected proxy without one. */
export function holdersOf(trust: Trust, connections: readonly XdsConnection[]): readonly HolderStatus[] {
  const agents = trust.service.followers.map((follower) => holderStatus(follower, trust));
  const known = new Set(agents.map(({ workload }) => workload));
  const alone = new Set(connections.map(({ key }) => parseProxyView(key).workload)).difference(known);
  const silent = { identity: "", serial: "", authority: "", roots: [], current: false, refusal: "" };
  return [...agents, ...[...alone].map((workload) => ({ workload, ...silent }))];
}

export function trustStatus(trust: Trust, connections: readonly XdsConnection[]): TrustStatus {
  const { bundles, roots } = trust.source.current;
  return {
    bundles: [...bundles].map(([trustDomain, { sequence, roots: pem }]) => ({ trustDomain, sequence, roots: pem })),
    roots: [...roots],
    holders: holdersOf(trust, connections),
  };
}
