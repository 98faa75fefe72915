import { compileMesh } from "../compile/compile.ts";
import { type Diagnostic, formatDiagnostic, severityOf } from "../core/diagnostic.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { buildSnapshot, checkReferences, DEFAULT_CLUSTER_DOMAIN, DEFAULT_ROOT_NAMESPACE, type MeshSettings } from "../mesh/snapshot.ts";
import { readFolder } from "../sources/folder-source.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { existingFolder, JSON_OPTION, required } from "./options.ts";

function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

/** What the options say of the mesh. */
function settingsOf(parsed: ParsedArguments): MeshSettings {
  return {
    trustDomain: parseTrustDomain(required(parsed, "trust-domain")),
    rootNamespace: required(parsed, "root-namespace"),
    clusterDomain: DEFAULT_CLUSTER_DOMAIN,
  };
}

/** Everything that is wrong with a folder, as `garrison serve` would tell it. */
async function checkFolder(
  folder: string,
  settings: MeshSettings,
): Promise<{ readonly diagnostics: readonly Diagnostic[]; readonly summary: string }> {
  const { objects, diagnostics } = await readFolder(existingFolder(folder));
  const snapshot = buildSnapshot(settings, objects);
  const compiled = compileMesh(snapshot);
  const policies = snapshot.authorizationPolicies.length + snapshot.peerAuthentications.length;
  const summary = [
    plural(snapshot.workloads.size, "workload"),
    plural(snapshot.services.length, "service"),
    `${policies} ${policies === 1 ? "policy" : "policies"}`,
  ].join(", ");
  return { diagnostics: [...diagnostics, ...checkReferences(snapshot, objects), ...compiled.diagnostics], summary };
}

export const command: Command = {
  name: "check",
  summary: "Checks a folder of YAML with nothing running. Ends with 0 where there is no error, with 1 where there is.",
  operands: "FOLDER",
  arity: [1, 1],
  options: {
    "trust-domain": { type: "value", value: "NAME", doc: "the trust domain of every identity", default: "cluster.local" },
    "root-namespace": { type: "value", value: "NAME", doc: "its policies hold for the whole mesh", default: DEFAULT_ROOT_NAMESPACE },
    json: JSON_OPTION,
  },
  examples: ["garrison check mesh", "garrison check examples/photo/mesh --json"],
  run: async (parsed) => {
    const { diagnostics, summary } = await checkFolder(parsed.positionals[0] ?? "", settingsOf(parsed));
    const errors = diagnostics.filter((diagnostic) => severityOf(diagnostic) === "error").length;
    if (parsed.flag("json")) {
      for (const diagnostic of diagnostics)
        process.stdout.write(`${JSON.stringify({ severity: severityOf(diagnostic), ...diagnostic })}\n`);
    } else {
      for (const diagnostic of diagnostics) process.stdout.write(`${formatDiagnostic(diagnostic)}\n`);
      process.stdout.write(`${summary}: ${plural(errors, "error")}, ${plural(diagnostics.length - errors, "warning")}\n`);
    }
    return errors === 0 ? EXIT.ok : EXIT.no;
  },
};
