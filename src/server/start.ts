/** What the mesh's configuration says at a start, where there is no last good state to fall back to. */
import { resolve } from "node:path";
import type { Diagnostic } from "../core/diagnostic.ts";
import { effectiveSettings, type FixedSettings, type MeshSettings } from "../mesh/mesh-config.ts";
import { readFolder } from "../sources/folder-source.ts";
import { type ConfigurationOrigin, refuseBrokenMesh, refusedMesh, refuseUnknown } from "./source.ts";

/** Throws `invalid-configuration` for one that contradicts the command line. */
export function refuseContradiction(diagnostics: readonly Diagnostic[]): void {
  const contradiction = diagnostics.find(({ code }) => code === "GAR0107");
  if (contradiction !== undefined) throw refusedMesh(contradiction);
}

export interface SettledSettings {
  readonly settings: MeshSettings;
  readonly fixed: FixedSettings;
}

/**
 * The settings to start with: certificates carry the trust domain, so that it is the same until the control plane ends. Throws
 * `invalid-configuration` before there is a CA, where the folder does not tell.
 */
export async function settleSettings(origin: ConfigurationOrigin, settings: MeshSettings, given: FixedSettings): Promise<SettledSettings> {
  if (origin.kind !== "folder") return { settings, fixed: { trustDomain: settings.trustDomain, ...given } };
  const first = await readFolder(resolve(origin.folder));
  refuseUnknown(first);
  refuseBrokenMesh(first, settings.rootNamespace);
  const { trustDomain } = effectiveSettings(settings, first.objects);
  const fixed = { trustDomain, ...given };
  return { settings: { ...settings, trustDomain: fixed.trustDomain }, fixed };
}
