/** A folder of YAML compiled as `garrison serve` would, with nothing running. */
import { type CompiledMesh, compileMesh } from "../compile/compile.ts";
import type { Diagnostic } from "../core/diagnostic.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { buildSnapshot, checkReferences, DEFAULT_CLUSTER_DOMAIN, DEFAULT_ROOT_NAMESPACE, type MeshSettings } from "../mesh/snapshot.ts";
import { SecretCheck } from "../server/secrets.ts";
import { readFolder } from "../sources/folder-source.ts";
import type { OptionSpec, ParsedArguments } from "./command.ts";
import { existingFolder, required } from "./options.ts";

/** What the whole mesh shares. */
export const SETTINGS_OPTIONS = {
  "trust-domain": { type: "value", value: "NAME", doc: "the trust domain of every identity", default: "cluster.local" },
  "root-namespace": { type: "value", value: "NAME", doc: "its policies hold for the whole mesh", default: DEFAULT_ROOT_NAMESPACE },
} as const satisfies Readonly<Record<string, OptionSpec>>;

function settingsOf(parsed: ParsedArguments): MeshSettings {
  return {
    trustDomain: parseTrustDomain(required(parsed, "trust-domain")),
    rootNamespace: required(parsed, "root-namespace"),
    clusterDomain: DEFAULT_CLUSTER_DOMAIN,
  };
}

export interface OfflineMesh extends CompiledMesh {
  /** All that is wrong with the folder; what is in force is compiled all the same. */
  readonly diagnostics: readonly Diagnostic[];
}

/** Compiles a folder with the settings of a command line (SETTINGS_OPTIONS). Throws `not-found` where there is no such folder. */
export async function loadMesh(folder: string, parsed: ParsedArguments): Promise<OfflineMesh> {
  const { objects: read, diagnostics } = await readFolder(existingFolder(folder));
  const { objects, diagnostics: unusable } = new SecretCheck().check(read);
  const snapshot = buildSnapshot(settingsOf(parsed), objects);
  const compiled = compileMesh(snapshot);
  return { ...compiled, diagnostics: [...diagnostics, ...unusable, ...checkReferences(snapshot, objects), ...compiled.diagnostics] };
}
