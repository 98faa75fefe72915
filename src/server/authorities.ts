/** Every authority that is trusted: its state, its certificates, and who has followed. */

import type { AuthorityState } from "../ca/authorities.ts";
import type { Authority } from "../ca/authority.ts";
import { authorityId } from "../ca/authority-id.ts";
import type { MeshRoots } from "../ca/federation/mesh-roots.ts";
import type { Clock } from "../core/clock.ts";
import type { XdsConnection } from "../xds/connection.ts";
import type { Trust } from "./trust.ts";
import { holdersOf } from "./trust-status.ts";

export interface AuthorityInfo {
  /** The identifier of its key, in hex. */
  readonly id: string;
  /** `trusted`: a root of an operator's CA. */
  readonly state: AuthorityState | "trusted";
  /** When it came into this state; absent where it is not known. Milliseconds. */
  readonly since?: number;
  readonly notAfter: number;
  /** Certificates that have not expired, and the identities that they are of. */
  readonly certificates: number;
  readonly identities: number;
  /** Connected proxies that use a certificate of it. */
  readonly inUse: number;
  /** Connected proxies that have said that they trust it. */
  readonly acknowledged: number;
  /** The others. */
  readonly waiting: readonly string[];
}

/** A root that the mesh's configuration names for the mesh's own trust domain: trusted, and no authority of this CA. */
export interface ConfiguredRoot {
  /** The identifier of its key, in hex. */
  readonly id: string;
  readonly notAfter: number;
  /** `FILE:LINE:COLUMN path`, and where it is fetched from. */
  readonly from: string;
  readonly url: string;
}

/** What `garrison ca authorities` shows. */
export interface AuthoritiesAnswer {
  /** `own`, or where the operator's CA is. */
  readonly source: string;
  /** The number of the trust bundle. */
  readonly sequence: number;
  readonly connected: number;
  readonly authorities: readonly AuthorityInfo[];
  readonly configured: readonly ConfiguredRoot[];
}

type Known = Pick<AuthorityInfo, "id" | "state" | "since" | "notAfter">;

/** Of an operator's CA the roots, and the issuer where it is none of them. */
function knownOf({ own, trust, status }: Authority): readonly Known[] {
  if (own !== undefined)
    return own.authorities.map(({ id, state, since, certificate }) => ({ id, state, since, notAfter: certificate.notAfter }));
  const roots = trust.roots.map((root) => ({ id: authorityId(root), root }));
  const issuer = [...trust.intermediates, ...trust.roots].find(({ serial }) => serial === status.serial);
  const issuerId = issuer === undefined ? undefined : authorityId(issuer);
  const others = roots
    .filter(({ id }) => id !== issuerId)
    .map(({ id, root }): Known => ({ id, state: "trusted", notAfter: root.notAfter }));
  return issuer === undefined || issuerId === undefined
    ? others
    : [{ id: issuerId, state: "active", notAfter: issuer.notAfter }, ...others];
}

function configuredRoots(meshRoots: MeshRoots, trustDomain: string): readonly ConfiguredRoot[] {
  const own = meshRoots.statuses.filter((status) => status.trustDomain === trustDomain);
  return own.flatMap(({ roots, from, url }) => roots.map((root) => ({ ...root, from, url })));
}

export function authoritiesAnswer(
  authority: Authority,
  trust: Trust,
  meshRoots: MeshRoots,
  connections: readonly XdsConnection[],
  clock: Clock,
): AuthoritiesAnswer {
  const holders = holdersOf(trust, connections);
  const { roots, bundles } = trust.source.current;
  const authorities = knownOf(authority).map((known): AuthorityInfo => {
    const live = authority.ledger.holdersOf(known.id, clock.now());
    // An intermediate is trusted by its root, which nobody acknowledges in its place.
    const waiting = roots.has(known.id) ? holders.filter((holder) => !holder.roots.includes(known.id)).map(({ workload }) => workload) : [];
    return {
      ...known,
      certificates: live.reduce((sum, { certificates }) => sum + certificates, 0),
      identities: live.length,
      inUse: holders.filter((holder) => holder.authority === known.id).length,
      acknowledged: holders.length - waiting.length,
      waiting,
    };
  });
  const sequence = bundles.get(authority.trustDomain)?.sequence ?? 0;
  const configured = configuredRoots(meshRoots, authority.trustDomain);
  return { source: authority.status.source, sequence, connected: holders.length, authorities, configured };
}
