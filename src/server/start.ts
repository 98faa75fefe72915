/** What a control plane does not start with: at a start there is no last good state to fall back to. */
import { type Diagnostic, type DiagnosticCode, formatDiagnostic, severityOf } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import { MESH_CONFIG_NAME } from "../policy/decode/config-map.ts";
import { objectKey } from "../policy/model.ts";
import type { ConfigurationSnapshot } from "../sources/snapshot.ts";

/** What makes a whole file unusable, or the mesh's configuration. */
const UNUSABLE: ReadonlySet<DiagnosticCode> = new Set(["GAR0001", "GAR0010", "GAR0107"]);

/** Why the mesh's configuration is not what its file says; undefined where it is, or there is none. */
function brokenMeshConfig({ statuses, diagnostics }: ConfigurationSnapshot, rootNamespace: string): Diagnostic | undefined {
  const key = objectKey({ kind: "ConfigMap", meta: { namespace: rootNamespace, name: MESH_CONFIG_NAME } });
  const status = statuses.find((each) => each.key === key && each.state !== "current");
  if (status === undefined) return undefined;
  const { file, line } = status.place;
  const within = (diagnostic: Diagnostic): boolean =>
    severityOf(diagnostic) === "error" && diagnostic.place.file === file && diagnostic.place.line >= line;
  return diagnostics.find(within);
}

/**
 * What a file that cannot be read would deny is unknown, and what a mesh's configuration that is invalid would say of
 * every proxy: so nothing is served. Throws `invalid-configuration`.
 */
export function refuseUnknown(configuration: ConfigurationSnapshot, rootNamespace: string, more: readonly Diagnostic[] = []): void {
  const unusable = [...configuration.diagnostics, ...more].find(({ code }) => UNUSABLE.has(code));
  const found = unusable ?? brokenMeshConfig(configuration, rootNamespace);
  if (found === undefined) return;
  const what = unusable?.code === "GAR0001" || unusable?.code === "GAR0010" ? "the policies of a file are" : "the mesh's configuration is";
  throw new AppError("invalid-configuration", `${what} unknown, so nothing can be served\n${formatDiagnostic(found)}`, {
    help: "mend the file, or take it out of the folder; once started, a broken edit keeps the last good state",
  });
}
