import { stringify } from "yaml";
import { customResourceDefinitions, readValues } from "../install/chart.ts";
import { install, installedObjects } from "../install/install.ts";
import { nameOf } from "../install/kinds.ts";
import { installationMissing } from "../install/readiness.ts";
import type { JsonObject } from "../install/template.ts";
import { until } from "../install/wait.ts";
import { openKubernetesApi } from "../sources/kubernetes/api.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { choice, KUBECONFIG_OPTION, NAMESPACE_OPTION, namespaceOf } from "./install-options.ts";
import { parseCount, required } from "./options.ts";

const MAX_SECONDS = 86_400;

function print(namespace: string, values: readonly JsonObject[]): ExitCode {
  const objects = [...customResourceDefinitions(), ...installedObjects(namespace, values)];
  process.stdout.write(objects.map((object) => stringify(object, { aliasDuplicateObjects: false })).join("---\n"));
  return EXIT.ok;
}

async function installInto(parsed: ParsedArguments, dryRun: boolean): Promise<ExitCode> {
  const namespace = namespaceOf(parsed);
  const values = parsed.values("values").map(readValues);
  const signal = AbortSignal.timeout(parseCount("timeout", required(parsed, "timeout"), 1, MAX_SECONDS) * 1000);
  const api = await openKubernetesApi({ file: parsed.value("kubeconfig") });
  await install({
    api,
    namespace,
    values,
    dryRun,
    force: parsed.flag("force-conflicts"),
    signal,
    report: (manifest, outcome) => {
      const why = outcome === "kept" ? ": it is not ours, and stays as it is" : "";
      process.stdout.write(`${nameOf(manifest)} ${outcome}${why}${dryRun ? " (dry run)" : ""}\n`);
    },
  });
  if (dryRun || parsed.flag("no-wait")) return EXIT.ok;
  process.stderr.write("waiting for the control plane\n");
  await until("the control plane is ready", () => installationMissing(api, namespace), signal);
  process.stdout.write("the control plane is ready\n");
  return EXIT.ok;
}

export const command: Command = {
  name: "install",
  summary:
    "Installs the control plane into a Kubernetes cluster, by server-side apply: the Helm chart's objects. Twice is the same as once.",
  options: {
    kubeconfig: KUBECONFIG_OPTION,
    namespace: NAMESPACE_OPTION,
    values: { type: "many", short: "f", value: "FILE", doc: "values of the chart (deploy/helm/garrison/values.yaml), as for Helm" },
    "dry-run": {
      type: "value",
      value: "WHERE",
      doc: "client prints the objects and needs no cluster; server asks the API server, which keeps nothing",
    },
    "force-conflicts": { type: "flag", doc: "take fields that somebody else manages" },
    "no-wait": { type: "flag", doc: "do not wait until the control plane is ready" },
    timeout: { type: "value", value: "SECONDS", doc: "how long all of it may take", default: "300" },
  },
  examples: [
    "garrison install -f values.yaml",
    "garrison install --dry-run server",
    "garrison install --dry-run client | kubectl apply --server-side -f -",
  ],
  run: async (parsed) => {
    const where = choice(parsed, "dry-run", ["client", "server"]);
    return where === "client"
      ? print(namespaceOf(parsed), parsed.values("values").map(readValues))
      : installInto(parsed, where === "server");
  },
};
