/** What of a mesh's configuration X.509 has a word about: its roots. */
import { checkRoots } from "../ca/federation/mesh-roots-check.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import type { Diagnostic } from "../core/diagnostic.ts";
import type { MeshConfigCheck } from "../mesh/mesh-config.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import { type MeshConfig, rootsSourcesOf } from "../policy/mesh-config.ts";

/** Certificates are read again after this, since they expire; in milliseconds. */
const LOOK_MS = 60_000;

/** What is wrong with the roots of a mesh's configuration at this moment. */
export function meshRootsCheck(clock: Clock = systemClock): MeshConfigCheck {
  let last:
    | { readonly config: MeshConfig; readonly trustDomain: string; readonly at: number; readonly found: readonly Diagnostic[] }
    | undefined;
  return ({ trustDomain }, config) => {
    const now = clock.now();
    if (last?.config === config && last.trustDomain === trustDomain && now - last.at < LOOK_MS) return last.found;
    last = { config, trustDomain, at: now, found: checkRoots(rootsSourcesOf(config), [trustDomain, ...config.trustDomainAliases], now) };
    return last.found;
  };
}

/** Trust domains whose roots are known only when they have been fetched; the mesh's own names are none of them. */
export function fetchedDomains({ settings, meshConfig }: Pick<MeshSnapshot, "settings" | "meshConfig">): readonly string[] {
  const own = new Set<string>([settings.trustDomain, ...meshConfig.trustDomainAliases]);
  const named = rootsSourcesOf(meshConfig).flatMap(({ from, trustDomains }) => (from.kind === "bundle" ? trustDomains : []));
  return named.filter((name) => !own.has(name));
}
