import { formatDiagnostic, severityOf } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import { meshServices } from "../mesh/registry.ts";
import { checkCluster, clusterChecks } from "./check-cluster.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { KUBECONFIG_OPTION, NAMESPACE_OPTION } from "./install-options.ts";
import { FOLDER_OPTIONS, loadMesh, type OfflineMesh } from "./offline-mesh.ts";
import { JSON_OPTION } from "./options.ts";

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

function summaryOf({ snapshot }: OfflineMesh): string {
  const { authorizationPolicies, peerAuthentications, requestAuthentications } = snapshot;
  const policies = authorizationPolicies.length + peerAuthentications.length + requestAuthentications.length;
  return [
    plural(snapshot.workloads.size, "workload"),
    plural(meshServices(snapshot).length, "service"),
    `${policies} ${policies === 1 ? "policy" : "policies"}`,
  ].join(", ");
}

async function checkFolder(parsed: ParsedArguments): Promise<ExitCode> {
  const [folder] = parsed.positionals;
  if (folder === undefined) {
    const help = "name the folder with your YAML, or check a cluster by `--pre`, `--kubernetes` or `--proxy`";
    throw new AppError("invalid-argument", "`garrison check` needs FOLDER", { help });
  }
  const mesh = await loadMesh(folder, parsed);
  const { diagnostics } = mesh;
  const errors = diagnostics.filter((diagnostic) => severityOf(diagnostic) === "error").length;
  if (parsed.flag("json")) {
    for (const diagnostic of diagnostics) process.stdout.write(`${JSON.stringify({ severity: severityOf(diagnostic), ...diagnostic })}\n`);
  } else {
    for (const diagnostic of diagnostics) process.stdout.write(`${formatDiagnostic(diagnostic)}\n`);
    process.stdout.write(`${summaryOf(mesh)}: ${plural(errors, "error")}, ${plural(diagnostics.length - errors, "warning")}\n`);
  }
  return errors === 0 ? EXIT.ok : EXIT.no;
}

export const command: Command = {
  name: "check",
  summary:
    "Checks a folder of YAML with nothing running; or a cluster: before an installation, after it, its proxies. Ends with 0 where there is no error, with 1 where there is.",
  operands: "[FOLDER]",
  arity: [0, 1],
  options: {
    pre: { type: "flag", doc: "whether the control plane can be installed into the cluster" },
    kubernetes: { type: "flag", doc: "whether the control plane that is installed there is well" },
    proxy: { type: "flag", doc: "whether the proxies there are" },
    kubeconfig: KUBECONFIG_OPTION,
    namespace: NAMESPACE_OPTION,
    ...FOLDER_OPTIONS,
    json: JSON_OPTION,
  },
  examples: [
    "garrison check mesh",
    "garrison check examples/photo/mesh --json",
    "garrison check mesh --federation federation.yaml",
    "garrison check --pre",
    "garrison check --kubernetes --proxy",
  ],
  run: async (parsed) => {
    const groups = clusterChecks(parsed);
    if (groups.length === 0) return checkFolder(parsed);
    if (parsed.positionals.length === 0) return checkCluster(parsed, groups);
    throw new AppError("invalid-argument", "a folder and a cluster are checked apart", { help: "leave out one of them" });
  },
};
