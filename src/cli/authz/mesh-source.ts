/** Who is asked for what is in force: a folder of YAML, or a control plane that runs. */
import { viewsOf, type WorkloadView } from "../../analyze/workload-view.ts";
import { formatDiagnostic, severityOf } from "../../core/diagnostic.ts";
import { AppError } from "../../core/error.ts";
import { callAdmin, controlPlaneSocket } from "../admin-client.ts";
import type { OptionSpec, ParsedArguments } from "../command.ts";
import { FOLDER_OPTIONS, loadMesh } from "../offline-mesh.ts";
import { required, STATE_OPTION } from "../options.ts";

export const SOURCE_OPTIONS = {
  folder: { type: "value", short: "f", value: "FOLDER", doc: "ask this folder of YAML, with nothing running" },
  ...FOLDER_OPTIONS,
  state: { ...STATE_OPTION, doc: "without --folder: ask the control plane with this state folder" },
} as const satisfies Readonly<Record<string, OptionSpec>>;

/** What is in force for a workload, or for each workload behind a service, by NAMESPACE/NAME. Throws `not-found`. */
export type ViewSource = (name: string) => Promise<readonly WorkloadView[]>;

/** The control plane of a state folder. Throws `unavailable`. */
export function liveSource(stateFolder: string): ViewSource {
  const socket = controlPlaneSocket(stateFolder);
  return async (name) => {
    const query = new URLSearchParams({ workload: name });
    return (await callAdmin(socket, "GET", `/v1/policy?${query}`)) as readonly WorkloadView[];
  };
}

/** What a command line asks (SOURCE_OPTIONS). A folder's errors are told on stderr; what is in force in spite of them answers. */
export async function openSource(parsed: ParsedArguments): Promise<ViewSource> {
  const folder = parsed.value("folder");
  if (folder === undefined) return liveSource(required(parsed, "state"));
  const mesh = await loadMesh(folder, parsed);
  if (mesh.brokenMeshConfig !== undefined) {
    const message = `the mesh's configuration cannot be taken, so nothing can be said\n${formatDiagnostic(mesh.brokenMeshConfig)}`;
    throw new AppError("invalid-configuration", message, { help: "mend the ConfigMap: it concerns every answer" });
  }
  const errors = mesh.diagnostics.filter((diagnostic) => severityOf(diagnostic) === "error");
  for (const diagnostic of errors) process.stderr.write(`${formatDiagnostic(diagnostic)}\n`);
  return async (name) => viewsOf(mesh, name);
}
