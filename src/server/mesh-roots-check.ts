/** What of a mesh's configuration X.509 has a word about: its roots. */
import { checkRoots } from "../ca/federation/mesh-roots-check.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import type { MeshConfigCheck } from "../mesh/mesh-config.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import { rootsSourcesOf } from "../policy/mesh-config.ts";

/** What is wrong with the roots of a mesh's configuration at this moment. */
export function meshRootsCheck(clock: Clock = systemClock): MeshConfigCheck {
  return ({ trustDomain }, config) => checkRoots(rootsSourcesOf(config), [trustDomain, ...config.trustDomainAliases], clock.now());
}

/** Trust domains whose roots are known only when they have been fetched; the mesh's own names are none of them. */
export function fetchedDomains({ settings, meshConfig }: Pick<MeshSnapshot, "settings" | "meshConfig">): readonly string[] {
  const own = new Set<string>([settings.trustDomain, ...meshConfig.trustDomainAliases]);
  const named = rootsSourcesOf(meshConfig).flatMap(({ from, trustDomains }) => (from.kind === "bundle" ? trustDomains : []));
  return named.filter((name) => !own.has(name));
}
