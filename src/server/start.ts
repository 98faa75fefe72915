/** What the operator and the mesh's configuration say at a start, where there is no last good state to fall back to. */
import { resolve } from "node:path";
import { type Clock, systemClock } from "../core/clock.ts";
import type { Diagnostic } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { admitMeshConfig, effectiveSettings, type FixedSettings, type MeshSettings } from "../mesh/mesh-config.ts";
import { readFolder } from "../sources/folder-source.ts";
import { type ClusterPlace, DEFAULT_CLUSTER_PLACE } from "./cluster/place.ts";
import type { ControlPlaneOptions } from "./control-plane-options.ts";
import { meshRootsCheck } from "./mesh-roots-check.ts";
import { type ConfigurationOrigin, refuseBrokenMesh, refusedMesh, refuseUnknown } from "./source.ts";

/** Throws `invalid-configuration` for one that contradicts the command line, or names roots that cannot be used. */
export function refuseUnusableMesh(diagnostics: readonly Diagnostic[]): void {
  const found = diagnostics.find(({ code }) => code === "GAR0107" || code === "GAR0320");
  if (found !== undefined) throw refusedMesh(found);
}

export interface SettledSettings {
  readonly settings: MeshSettings;
  readonly fixed: FixedSettings;
}

/**
 * The settings to start with: certificates carry the trust domain, so that it is the same until the control plane ends. Throws
 * `invalid-configuration` before there is a CA, where the folder does not tell.
 */
async function settleSettings(origin: ConfigurationOrigin, settings: MeshSettings, given: FixedSettings): Promise<SettledSettings> {
  if (origin.kind !== "folder") return { settings, fixed: { trustDomain: settings.trustDomain, ...given } };
  const first = await readFolder(resolve(origin.folder));
  refuseUnknown(first);
  refuseBrokenMesh(first, settings.rootNamespace);
  const { trustDomain } = effectiveSettings(settings, first.objects);
  const fixed = { trustDomain, ...given };
  refuseUnusableMesh(admitMeshConfig(settings, fixed, first.objects, [], meshRootsCheck()).diagnostics);
  return { settings: { ...settings, trustDomain: fixed.trustDomain }, fixed };
}

/**
 * `NAMESPACE/NAME` of the registration authorities. Callers prove identities of the mesh's own trust domain alone, so that one of another could never
 * ask. Throws `invalid-argument`.
 */
export function registrarAccounts(identities: readonly string[], { trustDomain }: MeshSettings): ReadonlySet<string> {
  const accounts = identities.map((identity) => {
    const registrar = parseSpiffeId(identity);
    if (registrar.trustDomain === trustDomain) return `${registrar.namespace}/${registrar.serviceAccount}`;
    throw new AppError("invalid-argument", `the registration authority \`${identity}\` is not of the trust domain \`${trustDomain}\``, {
      help: "name it by the identity that this control plane gives it",
    });
  });
  return new Set(accounts);
}

/** What a start has been told, in full. */
export interface Start {
  readonly options: ControlPlaneOptions;
  readonly fixed: FixedSettings;
  readonly clock: Clock;
  readonly place: ClusterPlace;
  /** `NAMESPACE/NAME`. */
  readonly registrars: ReadonlySet<string>;
}

/** Throws as `settleSettings` and `registrarAccounts`. */
export async function settleStart(given: ControlPlaneOptions): Promise<Start> {
  const { clock = systemClock, place = DEFAULT_CLUSTER_PLACE, registrationAuthorities = [] } = given;
  const { settings, fixed } = await settleSettings(given.config, given.settings, given.fixed ?? {});
  return { options: { ...given, settings }, fixed, clock, place, registrars: registrarAccounts(registrationAuthorities, settings) };
}
