/** The roots that the mesh's configuration names: fetched from where only public addresses lead, trusted while it says so. */
import { join } from "node:path";
import { fetchBundle } from "../ca/federation/fetch.ts";
import { MeshRoots } from "../ca/federation/mesh-roots.ts";
import type { Relation } from "../ca/federation/relations.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import { AddressGuard } from "../jwks/address-guard.ts";
import { checkHost, guardedLookup } from "../jwks/fetch.ts";
import type { IpBlock } from "../policy/ip-block.ts";
import { rootsSourcesOf } from "../policy/mesh-config.ts";
import type { MeshState } from "./mesh-state.ts";

export interface MeshRootsParts {
  /** The state folder. */
  readonly folder: string;
  /** Where bundles may be fetched from besides the public internet. */
  readonly allowed: readonly IpBlock[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Whoever writes the mesh's configuration chooses a URL: nothing answers that only the control plane reaches. */
function guardedFetch(allowed: readonly IpBlock[]): (relation: Relation, roots: string) => Promise<string> {
  const guard = new AddressGuard(allowed);
  const lookup = guardedLookup({ guard }, "https:");
  return async (relation, roots) => {
    checkHost(new URL(relation.url), guard);
    return fetchBundle(relation, roots, { lookup });
  };
}

/** Throws `unsafe-permissions`. */
export function openMeshRoots({ folder, allowed, clock, logger }: MeshRootsParts): MeshRoots {
  return new MeshRoots({ folder: join(folder, "mesh-roots"), clock, logger, fetch: guardedFetch(allowed) });
}

/** Follows the mesh's configuration from now on. */
export function followMesh(roots: MeshRoots, mesh: MeshState): void {
  let followed: unknown;
  const follow = () => {
    const { settings, meshConfig } = mesh.current.snapshot;
    if (followed === meshConfig) return;
    followed = meshConfig;
    roots.follow(rootsSourcesOf(meshConfig), [settings.trustDomain, ...meshConfig.trustDomainAliases]);
  };
  follow();
  mesh.onChange(follow);
  roots.onChange(() => mesh.refreshTrust());
}
