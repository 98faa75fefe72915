/** The keys of token issuers, between the mesh that names them and the network that has them. */
import { join } from "node:path";
import { remoteJwksOf } from "../compile/request-authentication.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import { AddressGuard } from "../jwks/address-guard.ts";
import { downloadJwks } from "../jwks/download.ts";
import { JwksResolver } from "../jwks/resolver.ts";
import { JwksStore } from "../jwks/store.ts";
import type { FixedSettings } from "../mesh/mesh-config.ts";
import type { MeshSettings, RevokedCredentials } from "../mesh/snapshot.ts";
import type { IpBlock } from "../policy/ip-block.ts";
import { type Configuration, MeshState } from "./mesh-state.ts";

export interface MeshWithKeysOptions {
  readonly settings: MeshSettings;
  /** What no configuration may change. */
  readonly fixed?: FixedSettings;
  readonly logger: Logger;
  readonly clock: Clock;
  /** The state folder. */
  readonly folder: string;
  /** Where keys may be fetched from besides the public internet. */
  readonly allowed: readonly IpBlock[];
  /** What is revoked at the moment. */
  readonly revoked?: () => RevokedCredentials;
  /** The trust domains that are federated with at the moment. */
  readonly federated?: () => readonly string[];
}

export interface MeshWithKeys {
  readonly mesh: MeshState;
  readonly jwks: JwksResolver;
  /** Takes in a configuration and the keys that it names. */
  apply(configuration: Configuration): void;
}

/** A mesh whose token rules get their keys as they come. */
export function openMeshWithKeys({
  settings,
  fixed = {},
  logger,
  clock,
  folder,
  allowed,
  revoked,
  federated,
}: MeshWithKeysOptions): MeshWithKeys {
  const guard = new AddressGuard(allowed);
  const jwks: JwksResolver = new JwksResolver({
    download: (source) => downloadJwks(source, { guard }),
    store: new JwksStore(join(folder, "jwks")),
    clock,
    logger,
    onChange: () => mesh.refreshKeys(),
  });
  const mesh: MeshState = new MeshState(settings, logger, (source) => jwks.keysOf(source), fixed, revoked, federated);
  const apply = (configuration: Configuration): void => {
    // First the keys: those that were kept on disk hold from the configuration's first moment.
    jwks.want(remoteJwksOf(configuration.objects));
    mesh.apply(configuration);
  };
  return { mesh, jwks, apply };
}
