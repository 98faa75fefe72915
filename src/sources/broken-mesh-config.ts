/** Whether the mesh's configuration is what its file says. */
import { type Diagnostic, severityOf } from "../core/diagnostic.ts";
import { MESH_CONFIG_NAME } from "../policy/decode/config-map.ts";
import { objectKey } from "../policy/model.ts";
import type { ConfigurationSnapshot } from "./snapshot.ts";

/** Why it is not; undefined where it is, or there is none. `rootNamespace` is where it stands. */
export function brokenMeshConfig({ statuses, diagnostics }: ConfigurationSnapshot, rootNamespace: string): Diagnostic | undefined {
  const key = objectKey({ kind: "ConfigMap", meta: { namespace: rootNamespace, name: MESH_CONFIG_NAME } });
  const status = statuses.find((each) => each.key === key && each.state !== "current");
  if (status === undefined) return undefined;
  const { file, line } = status.place;
  return diagnostics.find((each) => severityOf(each) === "error" && each.place.file === file && each.place.line >= line);
}
