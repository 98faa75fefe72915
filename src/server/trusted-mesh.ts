/** The mesh with whom it trusts: its own CA's word of what is revoked, the domains that it federates with, and the roots that its configuration names. */
import type { Authority } from "../ca/authority.ts";
import type { Federation } from "../ca/federation/federation.ts";
import type { MeshRoots } from "../ca/federation/mesh-roots.ts";
import type { Clock } from "../core/clock.ts";
import type { FixedSettings } from "../mesh/mesh-config.ts";
import type { ControlPlaneOptions } from "./control-plane-options.ts";
import { openFederation } from "./federation.ts";
import { type MeshWithKeys, openMeshWithKeys } from "./keys.ts";
import { followMesh, openMeshRoots } from "./mesh-roots.ts";

export interface TrustedMesh extends MeshWithKeys {
  /** Undefined where nobody is federated with. */
  readonly federation: Federation | undefined;
  readonly meshRoots: MeshRoots;
  close(): void;
}

export interface TrustedMeshParts {
  readonly fixed: FixedSettings;
  /** The state folder. */
  readonly folder: string;
  readonly authority: Authority;
  readonly clock: Clock;
}

/** Throws what the operator must put right, and leaves nothing open. */
export function openTrustedMesh(options: ControlPlaneOptions, { fixed, folder, authority, clock }: TrustedMeshParts): TrustedMesh {
  const { settings, logger, jwksAllow: allowed = [] } = options;
  const { revocations } = authority;
  const opened: { close(): void }[] = [];
  const close = (): void => {
    for (const each of opened.splice(0).reverse()) each.close();
  };
  try {
    const federation = openFederation({ file: options.federation, folder, trustDomain: settings.trustDomain, clock, logger });
    if (federation !== undefined) opened.push(federation);
    const meshRoots = openMeshRoots({ folder, allowed, clock, logger });
    opened.push(meshRoots);
    const revoked = () => revocations.forProxies(clock.now());
    const federated = () => [...(federation?.bundles.keys() ?? []), ...meshRoots.fetched];
    const withKeys = openMeshWithKeys({ settings, fixed, logger, clock, folder, allowed, revoked, federated });
    const { mesh, jwks } = withKeys;
    opened.push(mesh, jwks);
    revocations.onChange(() => mesh.refreshTrust());
    federation?.useAliases(() => mesh.current.snapshot.meshConfig.trustDomainAliases);
    federation?.onChange(() => mesh.refreshTrust());
    followMesh(meshRoots, mesh);
    return { ...withKeys, federation, meshRoots, close };
  } catch (thrown) {
    close();
    throw thrown;
  }
}
