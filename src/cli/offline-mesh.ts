/** A folder of YAML compiled as `garrison serve` would, with nothing running. */
import { type CompiledMesh, compileMesh } from "../compile/compile.ts";
import { UNKNOWN_KEYS } from "../compile/request-authentication.ts";
import { trustDomainsOf } from "../compile/trust-domains.ts";
import { type Diagnostic, severityOf } from "../core/diagnostic.ts";
import { DEFAULT_TRUST_DOMAIN, parseTrustDomain } from "../identity/trust-domain.ts";
import { refusedSources } from "../jwks/refused-sources.ts";
import { admitMeshConfig, type FixedSettings } from "../mesh/mesh-config.ts";
import { checkReferences } from "../mesh/references.ts";
import { buildSnapshot, DEFAULT_CLUSTER_DOMAIN, DEFAULT_ROOT_NAMESPACE, type MeshSettings, type MeshSnapshot } from "../mesh/snapshot.ts";
import { readRelations } from "../server/federation.ts";
import { fetchedDomains, meshRootsCheck } from "../server/mesh-roots-check.ts";
import { SecretCheck } from "../server/secrets.ts";
import { brokenMeshConfig } from "../sources/broken-mesh-config.ts";
import { readFolder } from "../sources/folder-source.ts";
import type { OptionSpec, ParsedArguments } from "./command.ts";
import { existingFolder, jwksAllow } from "./options.ts";

export const TRUST_DOMAIN_OPTION = {
  type: "value",
  value: "NAME",
  doc: "the trust domain of every identity; without it the MeshConfig's, or cluster.local",
} as const satisfies OptionSpec;

/** What the whole mesh shares. The MeshConfig may say it as well, but not otherwise. */
export const SETTINGS_OPTIONS = {
  "trust-domain": TRUST_DOMAIN_OPTION,
  "root-namespace": {
    type: "value",
    value: "NAME",
    doc: `the ConfigMap istio is there, and its policies hold for the whole mesh; without it ${DEFAULT_ROOT_NAMESPACE}`,
  },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** SETTINGS_OPTIONS, and what else a folder does not say. */
export const FOLDER_OPTIONS = {
  ...SETTINGS_OPTIONS,
  federation: {
    type: "value",
    value: "FILE",
    doc: "the file of `garrison serve --federation`: its trust domains are known, as when each one's bundle has been fetched",
  },
  "jwks-allow": { type: "many", value: "CIDR", doc: "as `garrison serve --jwks-allow`: keys of tokens may be there" },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** What a command line says of the mesh (SETTINGS_OPTIONS), and what of that the MeshConfig may not contradict. Throws `invalid-argument`. */
export function settingsOf(parsed: ParsedArguments): { readonly settings: MeshSettings; readonly fixed: FixedSettings } {
  const [trustDomain, rootNamespace] = [parsed.value("trust-domain"), parsed.value("root-namespace")];
  const fixed: FixedSettings = {
    ...(trustDomain === undefined ? {} : { trustDomain: parseTrustDomain(trustDomain) }),
    ...(rootNamespace === undefined ? {} : { rootNamespace }),
  };
  const defaults = { trustDomain: DEFAULT_TRUST_DOMAIN, rootNamespace: DEFAULT_ROOT_NAMESPACE, clusterDomain: DEFAULT_CLUSTER_DOMAIN };
  return { settings: { ...defaults, ...fixed }, fixed };
}

export interface OfflineMesh extends CompiledMesh {
  /** All that is wrong with the folder; what is in force is compiled all the same. */
  readonly diagnostics: readonly Diagnostic[];
  /** Why the mesh's configuration is not in force as its file says: every answer could be another one. */
  readonly brokenMeshConfig: Diagnostic | undefined;
}

/** What a control plane would fetch is taken for fetched: nothing is asked here. Throws what the operator must put right. */
function federate(snapshot: MeshSnapshot, file: string | undefined): MeshSnapshot {
  const relations = file === undefined ? [] : readRelations(file, trustDomainsOf(snapshot));
  const fetched = [...relations.map(({ trustDomain }) => trustDomain), ...fetchedDomains(snapshot)];
  return { ...snapshot, federated: [...new Set([...snapshot.federated, ...fetched])] };
}

/**
 * Compiles a folder with the settings of a command line (FOLDER_OPTIONS). Throws `not-found` where there is no such folder, and what is wrong with the file of
 * the federation.
 */
export async function loadMesh(folder: string, parsed: ParsedArguments): Promise<OfflineMesh> {
  const { settings, fixed } = settingsOf(parsed);
  const configuration = await readFolder(existingFolder(folder));
  const { objects: admitted, diagnostics: refused } = admitMeshConfig(settings, fixed, configuration.objects, [], meshRootsCheck());
  const { objects, diagnostics: unusable } = new SecretCheck().check(admitted);
  const snapshot = federate(buildSnapshot(settings, objects), parsed.value("federation"));
  const compiled = compileMesh(snapshot, UNKNOWN_KEYS);
  const broken = brokenMeshConfig(configuration, settings.rootNamespace) ?? refused.find((each) => severityOf(each) === "error");
  const diagnostics = [
    ...configuration.diagnostics,
    ...refused,
    ...unusable,
    ...checkReferences(snapshot, objects),
    ...compiled.diagnostics,
    ...refusedSources(objects, jwksAllow(parsed)),
  ];
  return { ...compiled, diagnostics, brokenMeshConfig: broken };
}
