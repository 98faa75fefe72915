/** What the mesh's configuration says at a start, where there is no last good state to fall back to. */
import { resolve } from "node:path";
import { type Diagnostic, formatDiagnostic, severityOf } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import { effectiveSettings, type FixedSettings, type MeshSettings } from "../mesh/mesh-config.ts";
import { MESH_CONFIG_NAME } from "../policy/decode/config-map.ts";
import { objectKey } from "../policy/model.ts";
import { readFolder } from "../sources/folder-source.ts";
import type { ConfigurationSnapshot } from "../sources/snapshot.ts";
import { type ConfigurationOrigin, refuseUnknown } from "./source.ts";

/** Why the mesh's configuration is not what its file says; undefined where it is, or there is none. */
function brokenMeshConfig({ statuses, diagnostics }: ConfigurationSnapshot, rootNamespace: string): Diagnostic | undefined {
  const key = objectKey({ kind: "ConfigMap", meta: { namespace: rootNamespace, name: MESH_CONFIG_NAME } });
  const status = statuses.find((each) => each.key === key && each.state !== "current");
  if (status === undefined) return undefined;
  const { file, line } = status.place;
  return diagnostics.find((each) => severityOf(each) === "error" && each.place.file === file && each.place.line >= line);
}

function refuse(diagnostic: Diagnostic): AppError {
  const message = `the mesh's configuration cannot be taken, so nothing can be served\n${formatDiagnostic(diagnostic)}`;
  return new AppError("invalid-configuration", message, {
    help: "mend the ConfigMap; once started, a broken edit keeps the last good state",
  });
}

/** What a mesh's configuration that is invalid would say of every proxy is unknown. Throws `invalid-configuration`. */
function refuseBrokenMesh(configuration: ConfigurationSnapshot, rootNamespace: string): void {
  const broken = brokenMeshConfig(configuration, rootNamespace);
  if (broken !== undefined) throw refuse(broken);
}

/** Throws `invalid-configuration` for one that contradicts the command line. */
export function refuseContradiction(diagnostics: readonly Diagnostic[]): void {
  const contradiction = diagnostics.find(({ code }) => code === "GAR0107");
  if (contradiction !== undefined) throw refuse(contradiction);
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
  refuseUnknown(first.diagnostics);
  refuseBrokenMesh(first, settings.rootNamespace);
  const { trustDomain } = effectiveSettings(settings, first.objects);
  const fixed = { trustDomain, ...given };
  return { settings: { ...settings, trustDomain: fixed.trustDomain }, fixed };
}
