import { AppError } from "../core/error.ts";
import { nameOf } from "../install/kinds.ts";
import { leaveCluster } from "../install/remote-cluster.ts";
import { forgetJoined, type JoiningCluster } from "../install/remote-roots.ts";
import { namespacesOf, readRemoteSecret, removeRemoteSecret } from "../install/remote-secret.ts";
import { openKubernetesApi } from "../sources/kubernetes/api.ts";
import { askedCluster, CLUSTER_OPTIONS, CONTROL_PLANE_KUBECONFIG, joiningCluster } from "./clusters/options.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { required } from "./options.ts";

const BY_HAND =
  "kubectl delete mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterrolebindings,clusterroles,serviceaccounts,secrets -A -l garrison.dev/chart=garrison-remote";

/** Removes what is in the cluster itself; answers why it could not be, undefined where it is gone. */
async function clear(cluster: JoiningCluster): Promise<AppError | undefined> {
  try {
    const found = await leaveCluster({
      api: cluster.api,
      report: (manifest, outcome) => void process.stdout.write(`${nameOf(manifest)} ${outcome}\n`),
    });
    if (found === 0) process.stdout.write("nothing of ours is in the cluster\n");
    await forgetJoined(cluster);
    return undefined;
  } catch (thrown) {
    return AppError.from(thrown);
  }
}

function leftBehind(name: string, problem: AppError): AppError {
  const { code, message, where } = problem;
  const reason = where === undefined ? message : `${where}: ${message}`;
  const again = `webhooks there keep pods from being made until they are gone: run this again when the cluster can be reached, or there: ${BY_HAND}`;
  // What Helm installed goes by Helm alone.
  const help = code === "already-exists" && problem.help !== undefined ? problem.help : again;
  return new AppError(code, `what \`garrison clusters join\` made in cluster ${name} is still there: ${reason}`, { cause: problem, help });
}

export const command: Command = {
  name: "clusters leave",
  summary:
    "Takes a cluster out of the mesh: removes what `clusters join` made in it, and its Secret in the control plane's cluster, also where the cluster cannot be reached. Its workloads' certificates stay good until they expire or are revoked.",
  options: { ...CLUSTER_OPTIONS, "control-plane-kubeconfig": CONTROL_PLANE_KUBECONFIG },
  examples: ["garrison clusters leave --name west --kubeconfig west.kubeconfig --control-plane-kubeconfig east.kubeconfig"],
  run: async (parsed) => {
    const { name, namespace, secretNamespace } = askedCluster(parsed);
    const home = await openKubernetesApi({ file: required(parsed, "control-plane-kubeconfig") });
    const api = await openKubernetesApi({ file: parsed.value("kubeconfig") });
    const secret = await readRemoteSecret({ home, name, namespace: secretNamespace });
    const namespaces = secret === undefined ? [] : namespacesOf(secret);
    const problem = await clear(joiningCluster({ api, home, namespace, secretNamespace, namespaces }));
    if (secret !== undefined) await removeRemoteSecret(home, secret);
    process.stdout.write(
      secret === undefined ? `the control plane's cluster has no Secret of cluster ${name}\n` : `cluster ${name} is out of the mesh\n`,
    );
    if (problem === undefined) return EXIT.ok;
    throw leftBehind(name, problem);
  },
};
