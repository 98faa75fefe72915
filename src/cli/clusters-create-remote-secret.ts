import { stringify } from "yaml";
import { AppError } from "../core/error.ts";
import { nameOf } from "../install/kinds.ts";
import { applyRemoteReader, remoteSecret } from "../install/remote-reader.ts";
import { openKubernetesApi } from "../sources/kubernetes/api.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { checkedNamespace, KUBECONFIG_OPTION, NAMESPACE_OPTION, namespaceOf } from "./install-options.ts";
import { clusterName, parseCount, required } from "./options.ts";

const MAX_SECONDS = 3_600;

/** Throws `invalid-argument`. */
function serverUrl(text: string): string {
  if (URL.canParse(text) && new URL(text).protocol === "https:") return text;
  throw new AppError("invalid-argument", `\`${text}\` is not the address of an API server`, { help: "write it as https://HOST:PORT" });
}

export const command: Command = {
  name: "clusters create-remote-secret",
  summary:
    "Gives a control plane elsewhere an account in this cluster that reads workloads and reviews tokens, and prints the Secret that tells it so. Whoever has that Secret has the account.",
  options: {
    kubeconfig: KUBECONFIG_OPTION,
    name: { type: "value", value: "NAME", doc: "the cluster's name, which its agents say by --cluster" },
    server: { type: "value", value: "URL", doc: "the API server as the control plane reaches it; as the kubeconfig has it without" },
    namespace: { ...NAMESPACE_OPTION, doc: "the account's namespace" },
    "secret-namespace": {
      type: "value",
      value: "NAME",
      doc: "the Secret's namespace in the control plane's cluster, which `garrison serve --remote-clusters` names",
      default: "istio-system",
    },
    "only-namespace": { type: "many", value: "NAME", doc: "the cluster speaks for this namespace; for all, where none is named" },
    timeout: { type: "value", value: "SECONDS", doc: "how long all of it may take", default: "60" },
  },
  examples: [
    "garrison clusters create-remote-secret --kubeconfig west.kubeconfig --name west | kubectl apply -f -",
    "garrison clusters create-remote-secret --name west --server https://10.1.0.1:6443 --only-namespace shop",
  ],
  run: async (parsed) => {
    const name = clusterName(required(parsed, "name"));
    const namespace = namespaceOf(parsed);
    const namespaces = parsed.values("only-namespace").map(checkedNamespace);
    const secretNamespace = checkedNamespace(required(parsed, "secret-namespace"));
    const server = parsed.value("server");
    const given = server === undefined ? undefined : serverUrl(server);
    const signal = AbortSignal.timeout(parseCount("timeout", required(parsed, "timeout"), 1, MAX_SECONDS) * 1000);
    const api = await openKubernetesApi({ file: parsed.value("kubeconfig") });
    const report = (...[manifest, outcome]: Parameters<Parameters<typeof applyRemoteReader>[0]["report"]>): void =>
      void process.stderr.write(`${nameOf(manifest)} ${outcome}\n`);
    const reader = await applyRemoteReader({ api, namespace, signal, report });
    const secret = remoteSecret({ name, server: given ?? api.server, reader, namespace: secretNamespace, namespaces });
    process.stdout.write(stringify(secret));
    return EXIT.ok;
  },
};
