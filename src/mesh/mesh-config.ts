/** The mesh's own settings: what the ConfigMap `istio` says, over what the command line says. */
import { type Diagnostic, type Place, severityOf } from "../core/diagnostic.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { quote } from "../policy/decode/report.ts";
import type { ExtensionProvider } from "../policy/extension-provider.ts";
import { DEFAULT_MESH_CONFIG, type MeshConfig } from "../policy/mesh-config.ts";
import type { ConfigMapObject, MeshObject } from "../policy/model.ts";

/** What the whole mesh shares, and each identity and host is made of. */
export interface MeshSettings {
  readonly trustDomain: TrustDomain;
  /** Policies of this namespace hold for the whole mesh. Before the configuration is read: where the ConfigMap `istio` is. */
  readonly rootNamespace: string;
  /** The end of every service's host: `NAME.NAMESPACE.svc.DOMAIN`. */
  readonly clusterDomain: string;
  /** Those that CUSTOM policies may name, by name; absent where the mesh has none. */
  readonly extensionProviders?: ReadonlyMap<string, ExtensionProvider>;
}

/** What cannot be otherwise: a command line says so, or certificates carry it already. */
export interface FixedSettings {
  readonly trustDomain?: TrustDomain;
  readonly rootNamespace?: string;
}

/** The ConfigMap that holds the mesh's configuration. */
function meshConfigMap<O extends MeshObject>(given: MeshSettings, objects: readonly O[]): (O & ConfigMapObject) | undefined {
  return objects.find(
    (object): object is O & ConfigMapObject =>
      object.kind === "ConfigMap" && object.mesh !== undefined && object.meta.namespace === given.rootNamespace,
  );
}

/** What the configuration says of the mesh; the defaults where it says nothing. */
export function meshConfigOf(given: MeshSettings, objects: readonly MeshObject[]): MeshConfig {
  return meshConfigMap(given, objects)?.mesh ?? DEFAULT_MESH_CONFIG;
}

/** `given` is of the command line; the configuration goes before it. */
export function effectiveSettings(given: MeshSettings, objects: readonly MeshObject[]): MeshSettings {
  const { trustDomain = given.trustDomain, rootNamespace = given.rootNamespace, extensionProviders } = meshConfigOf(given, objects);
  return { ...given, trustDomain, rootNamespace, ...(extensionProviders.size === 0 ? {} : { extensionProviders }) };
}

/** The fields that contradict what is fixed, each with what it says and what holds. */
function contradictions(given: MeshSettings, fixed: FixedSettings, objects: readonly MeshObject[]): readonly string[] {
  const settings = effectiveSettings(given, objects);
  return (["trustDomain", "rootNamespace"] as const).flatMap((name) => {
    const holds = fixed[name];
    return holds === undefined || holds === settings[name] ? [] : [`\`${name}\` would be ${quote(settings[name])}, and is ${quote(holds)}`];
  });
}

/** A ConfigMap `istio` outside the root namespace configures nothing. */
function strayConfigMaps(given: MeshSettings, objects: readonly MeshObject[]): readonly Diagnostic[] {
  const used = meshConfigMap(given, objects);
  return objects
    .filter((object) => object.kind === "ConfigMap" && object.mesh !== undefined && object !== used)
    .map(({ meta }) => ({
      code: "GAR0014",
      message: `ConfigMap ${quote(`${meta.namespace}/${meta.name}`)} is not used by Garrison`,
      place: meta.place,
      help: `the mesh's configuration is in namespace \`${given.rootNamespace}\` (\`--root-namespace\`)`,
    }));
}

export interface Admitted<O extends MeshObject> {
  readonly objects: readonly O[];
  readonly diagnostics: readonly Diagnostic[];
  /** The mesh's configuration that gave way; absent where it was admitted, or there is none. */
  readonly refused?: O;
}

/** What is wrong with a mesh's configuration that its fields alone do not tell; `settings` are those that it comes to. */
export type MeshConfigCheck = (settings: MeshSettings, config: MeshConfig) => readonly Diagnostic[];

function contradictionsTold(
  given: MeshSettings,
  fixed: FixedSettings,
  objects: readonly MeshObject[],
  place: Place,
): readonly Diagnostic[] {
  const help = `put it back, or end the control plane and begin a mesh anew; until then the mesh's last valid configuration stays in force`;
  return contradictions(given, fixed, objects).map((message): Diagnostic => ({ code: "GAR0107", message, place, help }));
}

/**
 * The objects with a mesh configuration that contradicts nothing that is fixed, and that `check` finds no error in: one that is wrong gives way to the last one
 * that was admitted (`previous`), or to none, as a whole, and is told.
 */
export function admitMeshConfig<O extends MeshObject>(
  given: MeshSettings,
  fixed: FixedSettings,
  objects: readonly O[],
  previous: readonly O[] = [],
  check: MeshConfigCheck = () => [],
): Admitted<O> {
  const stray = strayConfigMaps(given, objects);
  const [present, last] = [meshConfigMap(given, objects), meshConfigMap(given, previous)];
  const place = (present ?? last)?.meta.place ?? { file: "", line: 1, column: 1 };
  const checked = present?.mesh === undefined ? [] : check(effectiveSettings(given, objects), present.mesh);
  const diagnostics = [...stray, ...contradictionsTold(given, fixed, objects, place), ...checked];
  if (diagnostics.every((each) => severityOf(each) === "warning")) return { objects, diagnostics };
  const kept = [...objects.filter((object) => object !== present), ...(last === undefined ? [] : [last])];
  return { objects: kept, diagnostics, ...(present === undefined ? {} : { refused: present }) };
}
