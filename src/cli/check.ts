import { formatDiagnostic, severityOf } from "../core/diagnostic.ts";
import { meshServices } from "../mesh/registry.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { loadMesh, type OfflineMesh, SETTINGS_OPTIONS } from "./offline-mesh.ts";
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

export const command: Command = {
  name: "check",
  summary: "Checks a folder of YAML with nothing running. Ends with 0 where there is no error, with 1 where there is.",
  operands: "FOLDER",
  arity: [1, 1],
  options: {
    ...SETTINGS_OPTIONS,
    json: JSON_OPTION,
  },
  examples: ["garrison check mesh", "garrison check examples/photo/mesh --json"],
  run: async (parsed) => {
    const mesh = await loadMesh(parsed.positionals[0] ?? "", parsed);
    const { diagnostics } = mesh;
    const errors = diagnostics.filter((diagnostic) => severityOf(diagnostic) === "error").length;
    if (parsed.flag("json")) {
      for (const diagnostic of diagnostics)
        process.stdout.write(`${JSON.stringify({ severity: severityOf(diagnostic), ...diagnostic })}\n`);
    } else {
      for (const diagnostic of diagnostics) process.stdout.write(`${formatDiagnostic(diagnostic)}\n`);
      process.stdout.write(`${summaryOf(mesh)}: ${plural(errors, "error")}, ${plural(diagnostics.length - errors, "warning")}\n`);
    }
    return errors === 0 ? EXIT.ok : EXIT.no;
  },
};
