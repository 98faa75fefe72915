/** Kubernetes `v1` ConfigMap: `istio` with the key `mesh` is the mesh's configuration, every other one is its application's own. */
import { DEFAULT_MESH_CONFIG, type MeshConfig } from "../mesh-config.ts";
import type { ConfigMapObject, ObjectMeta } from "../model.ts";
import { yamlText } from "./embedded-yaml.ts";
import { meshConfig } from "./mesh-config.ts";
import { childOf } from "./raw-node.ts";
import { type Decoder, type Fields, mapOf, record, text } from "./reader.ts";
import { quote } from "./report.ts";

export const MESH_CONFIG_NAME = "istio";

/** Where every network is one, there is nothing to say of them. */
const noNetworks = record((fields) => {
  fields.optional(
    "networks",
    mapOf(text, () => undefined, { max: 0 }),
  );
  return true as const;
});

const data: Decoder<MeshConfig> = record((fields) => {
  fields.optional("meshNetworks", yamlText(noNetworks, true));
  // Messages name the fields as Istio's documentation does.
  return fields.required("mesh", yamlText(meshConfig, DEFAULT_MESH_CONFIG, ""));
});

function tellOtherRevision(root: Fields, meta: ObjectMeta): void {
  if (!meta.name.startsWith(`${MESH_CONFIG_NAME}-`) || childOf(childOf(root.cursor.node, "data"), "mesh") === undefined) return;
  const { node, report } = root.cursor;
  const help = `the mesh's configuration is the ConfigMap \`${MESH_CONFIG_NAME}\` alone`;
  report.add("GAR0014", node.place, `ConfigMap ${quote(meta.name)} is not used by Garrison`, help);
}

/** A ConfigMap `istio` of any namespace is read as the mesh's, lest a slip in its keys go unseen. */
export function decodeConfigMap(root: Fields, meta: ObjectMeta): ConfigMapObject | undefined {
  root.accept("immutable", "binaryData");
  if (meta.name !== MESH_CONFIG_NAME) {
    tellOtherRevision(root, meta);
    root.accept("data");
    return { kind: "ConfigMap", meta, mesh: undefined };
  }
  const mesh = root.required("data", data);
  return mesh === undefined ? undefined : { kind: "ConfigMap", meta, mesh };
}
