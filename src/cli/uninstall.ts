import { CRD, nameOf } from "../install/kinds.ts";
import { uninstall } from "../install/uninstall.ts";
import { openKubernetesApi } from "../sources/kubernetes/api.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { KUBECONFIG_OPTION } from "./install-options.ts";

export const command: Command = {
  name: "uninstall",
  summary: "Removes what `garrison install` made. The CA's namespace, the root namespace and the schemas of policies stay.",
  options: {
    kubeconfig: KUBECONFIG_OPTION,
    crds: { type: "flag", doc: "remove the schemas too, and with them EVERY policy of the cluster; those of Istio stay" },
    "dry-run": { type: "flag", doc: "only say what would be removed" },
  },
  examples: ["garrison uninstall --dry-run", "garrison uninstall"],
  run: async (parsed) => {
    const api = await openKubernetesApi({ file: parsed.value("kubeconfig") });
    const dryRun = parsed.flag("dry-run");
    const found = await uninstall({
      api,
      chart: "garrison",
      dryRun,
      schemas: parsed.flag("crds"),
      report: (manifest, outcome) => {
        const how = manifest.kind === CRD.kind ? "with --crds it goes, and every object of its kind" : "what is in it is not ours alone";
        process.stdout.write(`${nameOf(manifest)} ${outcome}${outcome === "kept" ? `: ${how}` : ""}${dryRun ? " (dry run)" : ""}\n`);
      },
    });
    if (found === 0) process.stdout.write("nothing is installed\n");
    return EXIT.ok;
  },
};
